"""Every network can be trained for one step, validated, saved and reloaded, and the loss of some of them decreases."""

import json
import math
import shutil

import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference import Segmenter
from lsabinet_core.models import list_models
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.sweep import PlannedRun, run_rows, train_runs

SMALL = ["augmentation.crop_size=[64, 64]", "augmentation.scales=[1.0]", "input_size=[72, 96]"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
    monkeypatch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)


@pytest.fixture
def folder(tmp_path):
    """A folder that is emptied at the end: a checkpoint of SegNet takes half a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def train(name: str, root, folder, *changes: str, split: str = "train"):
    """Returns the run's row and its losses."""
    planned = PlannedRun("run", load_recipe("zoo_cpu", [*SMALL, f"model={name}", *changes]), "camvid", split)
    opens = {"open_split": lambda split: open_dataset("camvid", root, split), "device": torch.device("cpu")}
    assert list(train_runs([planned], folder, **opens, workers=0)) == [planned]
    (row,) = run_rows(folder, [planned], {})
    assert json.loads((folder / "run" / "summary.json").read_text())["skipped"] == 0
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return row, [line["loss"] for line in records if "loss" in line]


@pytest.mark.parametrize("name", list_models())
def test_every_network_trains_one_step(name, small_camvid, folder):
    # val is the smallest split: one batch of four images.
    row, losses = train(name, small_camvid, folder, "epochs=1", split="val")
    assert (row["state"], row["iterations"]) == ("finished", 1)
    (loss,) = losses
    # Random guessing among eleven classes gives a loss of ln 11, or more if the initial logits are far apart.
    assert math.isfinite(loss)
    assert 1 < loss < 10
    weights = folder / "run" / row["weights"]
    with Segmenter.from_pretrained(str(weights), device="cpu", precision="fp32", backend="torch") as segmenter:
        report = evaluate(segmenter, open_dataset("camvid", small_camvid, "val"))
    # Weights are stored in half precision.
    assert report.miou == pytest.approx(row["val_miou"], abs=0.02)


@pytest.mark.parametrize("name", ["icnet", "ddrnet23_slim", "edanet", "pidnet_s"])
def test_loss_decreases(name, small_camvid, folder):
    _, losses = train(name, small_camvid, folder, "epochs=10", "schedule.warmup_iterations=1")
    assert len(losses) == 10
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])
