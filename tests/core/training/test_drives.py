"""Leave-one-drive-out training: a run for each drive, resumable, with their mean."""

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
from lsabinet_core.training.drives import summarise_drives, train_drives
from lsabinet_core.training.recipe import Recipe, Schedule

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
DRIVES = {"0001TP": ["train/0", "train/1", "train/2"], "0016E5": ["train/3", "train/4", "train/5", "val/0", "val/1"]}


@pytest.fixture(scope="module")
def root(small_camvid, tmp_path_factory):
    """Two drives, one of which is in both splits."""
    root = tmp_path_factory.mktemp("driven")
    lists = {"train": [], "val": []}
    for drive, images in DRIVES.items():
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
    """Train in this process; with ``stop_in``, until the first validation of that drive."""
    events = []

    def observe(event):
        events.append(event)
        current = [e["name"] for e in events if e["event"] == "run"][-1]
        if event["event"] == "step" and current == stop_in:
            raise Stop

    try:
        summary = train_drives(recipe, "camvid", root, out, device=torch.device("cpu"), workers=0, observer=observe)
    except Stop:
        summary = None
    return summary, events


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("drives") / "whole"
    return out, *train(root, out)


def test_each_drive_is_left_out_once(root, whole):
    out, summary, events = whole
    assert [event["name"] for event in events if event["event"] == "run"] == ["0001TP", "0016E5"]
    assert summary["complete"] and summary == json.loads((out / "drives.json").read_text())
    assert summary["drives"]["0001TP"]["images"] == 3 and summary["drives"]["0016E5"]["images"] == 5
    assert summary["iterations"] == 2 * (5 // 3) + 2 * (3 // 3)
    for drive, fold in summary["drives"].items():
        facts = json.loads((out / drive / "run.json").read_text())
        assert facts["split"] == f"drives:{drive}:train" and facts["val_split"] == f"drives:{drive}:val"
        assert load_weights(out / drive / "last.safetensors")[1].dataset == f"camvid drives:{drive}:train"
        assert fold["iterations"] == json.loads((out / drive / "summary.json").read_text())["iterations"]
    assert summary["val_miou"] == pytest.approx(np.mean([fold["val_miou"] for fold in summary["drives"].values()]))


def test_figures_are_those_of_the_weights(root, whole):
    out, summary, _ = whole
    total = 0
    for drive, fold in summary["drives"].items():
        model, metadata = load_weights(out / drive / "last.safetensors")
        segmenter = Segmenter(model, metadata, device="cpu", precision="fp32", backend="torch")
        report = evaluate(segmenter, open_dataset("camvid", root, f"drives:{drive}:val"))
        # Weights are stored in half precision.
        assert report.miou == pytest.approx(fold["val_miou"], abs=0.01)
        total = total + report.confusion.matrix
    hits = np.diag(total)
    union = total.sum(0) + total.sum(1) - hits
    assert summary["pooled_miou"] == pytest.approx((hits[union > 0] / union[union > 0]).mean(), abs=0.01)


def test_a_cut_job_goes_on(root, whole, tmp_path):
    _, expected, _ = whole
    assert train(root, tmp_path, stop_in="0016E5")[0] is None
    part = json.loads((tmp_path / "drives.json").read_text())
    assert not part["complete"] and list(part["drives"]) == ["0001TP"]
    finished = (tmp_path / "0001TP" / "metrics.jsonl").read_bytes()
    summary, _ = train(root, tmp_path)
    assert (tmp_path / "0001TP" / "metrics.jsonl").read_bytes() == finished
    assert {**summary, "seconds": 0} == {**expected, "seconds": 0}
    assert train(root, tmp_path)[0] == summary


def test_another_recipe_is_refused(root, whole):
    out, _, _ = whole
    with pytest.raises(TrainingError, match="0001TP was trained with epochs 2, not 3"):
        train(root, out, RECIPE.model_copy(update={"epochs": 3}))


def test_nothing_yet(tmp_path):
    summary = summarise_drives(tmp_path, ["a", "b"])
    assert not summary["complete"] and summary["val_miou"] is None and summary["pooled_miou"] is None


def test_names_without_drives(small_camvid, tmp_path):
    with pytest.raises(DatasetError, match="expected a name that begins with its drive"):
        train(small_camvid, tmp_path)
