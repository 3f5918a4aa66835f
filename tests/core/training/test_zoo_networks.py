"""The trainer's whole path with every network: one step, validation, weights that are loaded again; and some learn."""

import json
import math
import shutil

import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference import Segmenter
from lsabinet_core.models import list_models
from lsabinet_core.training.campaign import PlannedRun, carry_out
from lsabinet_core.training.recipe import load_recipe

SMALL = ["augmentation.crop_size=[64, 64]", "augmentation.scales=[1.0]", "input_size=[72, 96]"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
    monkeypatch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)


@pytest.fixture
def folder(tmp_path):
    """Emptied at the end: a checkpoint of SegNet has half a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def train(name: str, root, folder, *changes: str, split: str = "train"):
    """The run's record and its losses."""
    planned = PlannedRun("run", load_recipe("zoo_cpu", [*SMALL, f"model={name}", *changes]), "camvid", split)
    record = carry_out(
        planned, folder, lambda split: open_dataset("camvid", root, split), device=torch.device("cpu"), workers=0
    )
    assert json.loads((folder / "run" / "summary.json").read_text())["skipped"] == 0
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return record, [line["loss"] for line in records if "loss" in line]


@pytest.mark.parametrize("name", list_models())
def test_one_step_of_every_network(name, small_camvid, folder):
    # Of the splits, val has the fewest images: one batch of four.
    record, losses = train(name, small_camvid, folder, "epochs=1", split="val")
    assert (record.state, record.iterations) == ("finished", 1)
    (loss,) = losses
    # Eleven classes, guessed at random: ln 11, and more where the first logits are far apart.
    assert math.isfinite(loss) and 1 < loss < 10
    weights = folder / "run" / record.weights
    with Segmenter.from_pretrained(str(weights), device="cpu", precision="fp32", backend="torch") as segmenter:
        report = evaluate(segmenter, open_dataset("camvid", small_camvid, "val"))
    # Weights are stored in half precision.
    assert report.miou == pytest.approx(record.val_miou, abs=0.02)


@pytest.mark.parametrize("name", ["icnet", "ddrnet23_slim", "edanet", "pidnet_s"])
def test_the_loss_goes_down(name, small_camvid, folder):
    _, losses = train(name, small_camvid, folder, "epochs=10", "schedule.warmup_iterations=1")
    assert len(losses) == 10
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])
