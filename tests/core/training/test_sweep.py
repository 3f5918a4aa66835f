"""Runs of a sweep: finished ones are kept, others start or resume, and a deadline stops with a checkpoint."""

import json
import time
from types import SimpleNamespace

import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.errors import RecipeError, TrainingError, WeightsError
from lsabinet_core.training import sweep, trainer
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.sweep import PlannedRun, run_rows, train_runs

SMALL = [
    *("model=espnet", "augmentation.crop_size=[64, 64]", "augmentation.scales=[1.0]", "batch_size=4", "epochs=4"),
    *("validate_epochs=2", "input_size=[72, 96]", "precision=fp32", "compile=false"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
    monkeypatch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)


def planned(*changes: str, name: str = "run", **facts: str) -> PlannedRun:
    return PlannedRun(name, load_recipe("synthetic", [*SMALL, *changes]), "camvid", **facts)


def train(run: PlannedRun, root, out, **options) -> dict:
    work = train_runs(
        [run], out, lambda split: open_dataset("camvid", root, split), device=torch.device("cpu"), workers=0, **options
    )
    list(work)
    (row,) = run_rows(out, [run], {})
    return row


def losses(out) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    return [(record["iteration"], record["loss"]) for record in records if "loss" in record]


def test_run_continued_after_its_deadline_is_the_same(small_camvid, tmp_path, one_thread, monkeypatch):
    whole = train(planned(), small_camvid, tmp_path / "whole")
    assert (whole["state"], whole["iterations"], whole["weights"]) == ("finished", 8, "last.safetensors")
    assert 0 < whole["val_miou"] <= whole["val_miou_paper_rule"]
    assert whole["seconds"] >= 0

    ends = time.monotonic() + 3600
    with monkeypatch.context() as clock:

        def expire_in_the_third(event):
            if event["event"] == "step" and event["iteration"] == 3:
                clock.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: ends))

        cut = train(planned(), small_camvid, tmp_path / "cut", observer=expire_in_the_third, deadline=ends)
    assert (cut["state"], cut["iterations"], cut["val_miou"], cut["weights"]) == ("unfinished", 3, None, None)
    again = train(planned(), small_camvid, tmp_path / "cut")
    assert (again["state"], again["val_miou"]) == ("finished", whole["val_miou"])
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")

    def fail(event):
        raise AssertionError("a finished run is trained again")

    assert train(planned(), small_camvid, tmp_path / "cut", observer=fail) == again
    with pytest.raises(TrainingError, match="run was trained with epochs 4, not 3: choose another"):
        train(planned("epochs=3"), small_camvid, tmp_path / "cut")
    with pytest.raises(TrainingError, match="was trained with split 'train', not 'trainval'"):
        train(planned(split="trainval"), small_camvid, tmp_path / "cut")
    # The description does not affect what a recipe computes.
    assert train(planned("description=another"), small_camvid, tmp_path / "cut") == again


def test_run_without_checkpoint_restarts(small_camvid, tmp_path):
    def cut(event):
        if event["event"] == "step" and event["iteration"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(planned(), small_camvid, tmp_path, observer=cut)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert train(planned(), small_camvid, tmp_path)["state"] == "finished"
    assert [iteration for iteration, _ in losses(tmp_path)] == list(range(1, 9))


def test_folder_without_a_run(tmp_path):
    (row,) = run_rows(tmp_path, [planned("seed=3")], {})
    assert (row["state"], row["seed"], row["model"], row["iterations"]) == ("waiting", 3, "espnet", 0)
    assert row["seconds"] is row["val_miou"] is row["error"] is None


@pytest.mark.parametrize("kind", [TrainingError, RecipeError, WeightsError])
def test_runs_in_order_with_one_failure(tmp_path, monkeypatch, kind):
    """A failed run can be skipped; runs that do not fit are rejected before any starts."""
    runs = [planned(name=name) for name in "abc"]
    done = RunFolder(tmp_path / "a")
    done.create(runs[0].recipe, runs[0].facts)
    done.finish({"iterations": 8})
    begun, events, failures = [], [], []

    def train_one(planned, *_arguments):
        begun.append(planned.name)
        if planned.name == "b":
            raise kind("lost")
        return True

    def all_of(runs, **options):
        begun.clear()
        work = train_runs(runs, tmp_path, lambda split: None, device=torch.device("cpu"), **options)
        return [planned.name for planned in work]

    monkeypatch.setattr(sweep, "_train", train_one)
    assert all_of(runs, failed=lambda *what: failures.append(what), observer=events.append) == ["c"]
    assert begun == ["b", "c"]
    assert [(planned.name, str(error)) for planned, error in failures] == [("b", "lost")]
    assert events == [{"event": "run", "name": name, "done": at, "total": 3} for at, name in ((1, "b"), (2, "c"))]
    assert [row["state"] for row in run_rows(tmp_path, runs, {"b": "lost"})] == ["finished", "failed", "waiting"]
    with pytest.raises(kind, match="lost"):
        all_of(runs)
    assert begun == ["b"]
    assert all_of(runs, deadline=time.monotonic()) == []
    assert begun == []
    other = planned("seed=5", name="a")
    with pytest.raises(TrainingError, match="was trained with seed 1, not 5"):
        all_of([*runs[1:], other])
    assert begun == []
