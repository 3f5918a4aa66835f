"""Leave-one-sequence-out training: one resumable run per sequence, and the table of results."""

import contextlib
import json
import shutil

import numpy as np
import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.data.augment import Augmentation
from lsabinet_core.errors import DatasetError, TrainingError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference.segmenter import Segmenter
from lsabinet_core.models.weights import load_weights
from lsabinet_core.training.left_out import left_out_runs, left_out_table
from lsabinet_core.training.recipe import Recipe, Schedule
from lsabinet_core.training.sweep import run_rows, train_runs

RECIPE = Recipe(
    model="espnet",
    augmentation=Augmentation(crop_size=(64, 64)),
    schedule=Schedule(warmup_iterations=2),
    batch_size=3,
    epochs=2,
    input_size=(72, 96),
    validate_epochs=2,
    ema_decay=0.0,
)
SEQUENCES = {"0001TP": ["train/0", "train/1", "train/2"], "0016E5": ["train/3", "train/4", "train/5", "val/0", "val/1"]}


@pytest.fixture(scope="module")
def root(small_camvid, tmp_path_factory):
    """A data set of two sequences, one of which is in both splits."""
    root = tmp_path_factory.mktemp("driven")
    lists = {"train": [], "val": []}
    for drive, images in SEQUENCES.items():
        for image in images:
            split, number = image.split("/")
            for folder in (split, f"{split}annot"):
                (root / folder).mkdir(exist_ok=True)
                shutil.copy(small_camvid / folder / f"{number}.png", root / folder / f"{drive}_{number}.png")
            lists[split].append(f"{split}/{drive}_{number}.png {split}annot/{drive}_{number}.png")
    for split, lines in lists.items():
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


class Stop(Exception):
    pass


def train(root, out, recipe=RECIPE, stop_in=None):
    """Train in this process, up to the first step of sequence ``stop_in`` if given; returns facts, rows and events."""
    events = []

    def observe(event):
        events.append(event)
        current = [e["name"] for e in events if e["event"] == "run"][-1]
        if event["event"] == "step" and current == stop_in:
            raise Stop

    runs = left_out_runs(recipe, "camvid", open_dataset("camvid", root, "trainval").drives())
    with contextlib.suppress(Stop):
        for _ in train_runs(
            runs,
            out,
            lambda split: open_dataset("camvid", root, split),
            device=torch.device("cpu"),
            workers=0,
            observer=observe,
        ):
            pass
    table = left_out_table(out, run_rows(out, runs, {}))
    return table.facts, {row["run"]: row for row in table.rows}, events


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("sequences") / "whole"
    return out, *train(root, out)


def test_each_sequence_is_left_out_once(whole):
    out, facts, rows, events = whole
    assert [event["name"] for event in events if event["event"] == "run"] == ["0001TP", "0016E5"]
    assert facts["complete"]
    assert [row["images"] for row in rows.values()] == [3, 5]
    assert [row["iterations"] for row in rows.values()] == [2 * (5 // 3), 2 * (3 // 3)]
    for sequence in rows:
        recorded = json.loads((out / sequence / "run.json").read_text())
        assert recorded["split"] == f"drives:{sequence}:train"
        assert recorded["val_split"] == f"drives:{sequence}:val"
        assert load_weights(out / sequence / "last.safetensors")[1].dataset == f"camvid drives:{sequence}:train"
    assert facts["val_miou"] == pytest.approx(np.mean([row["val_miou"] for row in rows.values()]))


def test_recorded_miou_matches_the_weights(root, whole):
    out, facts, rows, _ = whole
    total = 0
    for sequence, row in rows.items():
        model, metadata = load_weights(out / sequence / "last.safetensors")
        segmenter = Segmenter(model, metadata, device="cpu", precision="fp32", backend="torch")
        report = evaluate(segmenter, open_dataset("camvid", root, f"drives:{sequence}:val"))
        # Weights are stored in half precision.
        assert report.miou == pytest.approx(row["val_miou"], abs=0.01)
        total = total + report.confusion.matrix
    hits = np.diag(total)
    union = total.sum(0) + total.sum(1) - hits
    assert facts["pooled_miou"] == pytest.approx((hits[union > 0] / union[union > 0]).mean(), abs=0.01)
    assert len(facts["pooled_per_class_iou"]) == 11


def test_an_interrupted_job_continues(root, whole, tmp_path):
    _, expected, expected_rows, _ = whole
    facts, rows, _ = train(root, tmp_path, stop_in="0016E5")
    assert not facts["complete"]
    assert [row["state"] for row in rows.values()] == ["finished", "unfinished"]
    assert facts["val_miou"] == rows["0001TP"]["val_miou"]
    assert rows["0016E5"]["val_miou"] is None
    finished = (tmp_path / "0001TP" / "metrics.jsonl").read_bytes()
    facts, rows, _ = train(root, tmp_path)
    assert (tmp_path / "0001TP" / "metrics.jsonl").read_bytes() == finished
    assert facts == expected
    assert [row["val_miou"] for row in rows.values()] == [row["val_miou"] for row in expected_rows.values()]


def test_sequence_run_with_another_recipe_is_rejected(root, whole):
    out, *_ = whole
    with pytest.raises(TrainingError, match="0001TP was trained with epochs 2, not 3"):
        train(root, out, RECIPE.model_copy(update={"epochs": 3}))


def test_table_without_runs(tmp_path):
    table = left_out_table(tmp_path, run_rows(tmp_path, left_out_runs(RECIPE, "camvid", ["a", "b"]), {}))
    assert not table.facts["complete"]
    assert table.facts["val_miou"] is table.facts["pooled_miou"] is None
    assert table.cells() == [["a", "-", "-", "-", "-", "waiting"], ["b", "-", "-", "-", "-", "waiting"]]


def test_names_without_sequences(small_camvid, tmp_path):
    with pytest.raises(DatasetError, match="starts with its drive"):
        train(small_camvid, tmp_path)
