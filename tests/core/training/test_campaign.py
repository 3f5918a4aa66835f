"""A campaign's runs: passed over, resumed, stopped at a checkpoint before a deadline."""

import json
import os
import time
from types import SimpleNamespace

import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.errors import RecipeError, TrainingError, WeightsError
from lsabinet_core.training import campaign
from lsabinet_core.training.campaign import (
    PlannedRun,
    RunRecord,
    StopAtCheckpoint,
    TimeUp,
    carry_out,
    carry_out_all,
    read_run,
)
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder

SMALL = [
    *("model=espnet", "augmentation.crop_size=[64, 64]", "augmentation.scales=[1.0]", "batch_size=4", "epochs=4"),
    *("validate_epochs=2", "input_size=[72, 96]", "precision=fp32", "compile=false"),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
    monkeypatch.setattr("lsabinet_core.training.run_pictures.write_pictures", lambda *_: None)


def planned(*changes: str, **facts: str) -> PlannedRun:
    return PlannedRun("run", load_recipe("synthetic", [*SMALL, *changes]), "camvid", **facts)


def carry(run: PlannedRun, root, out, **options) -> RunRecord:
    options = {"device": torch.device("cpu"), "workers": 0, **options}
    return carry_out(run, out, lambda split: open_dataset("camvid", root, split), **options)


def stop_at_once(out) -> StopAtCheckpoint:
    return StopAtCheckpoint(RunFolder(out / "run"), time.monotonic(), lambda event: None)


def losses(out) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    return [(record["iteration"], record["loss"]) for record in records if "loss" in record]


def test_stopped_at_a_checkpoint_and_carried_on_is_the_same_run(small_camvid, tmp_path):
    whole = carry(planned(), small_camvid, tmp_path / "whole")
    assert (whole.state, whole.iterations, whole.total_iterations) == ("finished", 8, 8)
    assert whole.val_miou > 0 and whole.images_per_s > 0

    # Two epochs of two iterations to the first checkpoint; the next event is that of iteration 5.
    with pytest.raises(TimeUp):
        carry(planned(), small_camvid, tmp_path / "cut", observer=stop_at_once(tmp_path / "cut"))
    begun = read_run(tmp_path / "cut" / "run")
    assert (begun.state, begun.iterations, begun.total_iterations) == ("unfinished", 5, 8)
    again = carry(planned(), small_camvid, tmp_path / "cut")
    assert (again.state, again.val_miou) == ("finished", whole.val_miou)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")

    def fail(event):
        raise AssertionError("a finished run is passed over")

    assert carry(planned(), small_camvid, tmp_path / "cut", observer=fail) == again
    with pytest.raises(TrainingError, match="run was trained with epochs 4, not 3: choose another"):
        carry(planned("epochs=3"), small_camvid, tmp_path / "cut")
    with pytest.raises(TrainingError, match="was trained with split 'train', not 'trainval'"):
        carry(planned(split="trainval"), small_camvid, tmp_path / "cut")
    # What a recipe is called does not change what it computes.
    assert carry(planned("description=another"), small_camvid, tmp_path / "cut") == again


def test_a_run_that_was_cut_before_its_first_checkpoint_starts_anew(small_camvid, tmp_path):
    def cut(event):
        if event["event"] == "step" and event["iteration"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry(planned(), small_camvid, tmp_path, observer=cut)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert carry(planned(), small_camvid, tmp_path).state == "finished"
    assert [iteration for iteration, _ in losses(tmp_path)] == list(range(1, 9))


def test_it_stops_where_the_next_checkpoint_would_come_too_late(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(campaign, "time", SimpleNamespace(monotonic=lambda: clock.now))
    seen = []
    stop = StopAtCheckpoint(run, 100.0, seen.append)

    def step_at(seconds: float, checkpoint: int | None = None, iteration: int = 1) -> None:
        clock.now = seconds
        if checkpoint is not None:
            run.checkpoint.touch()
            os.utime(run.checkpoint, ns=(checkpoint, checkpoint))
        stop({"event": "step", "iteration": iteration, "total": 500})

    step_at(5)
    step_at(20, checkpoint=1)
    # 25 seconds between checkpoints is the longest so far.
    step_at(45, checkpoint=2)
    step_at(60, checkpoint=3)
    step_at(74, checkpoint=4)
    step_at(99)
    # Too late already, and the last step of all: what follows finishes the run.
    step_at(120, checkpoint=5, iteration=500)
    with pytest.raises(TimeUp):
        step_at(121)
    assert len(seen) == 8
    assert stop.seconds_to_first == 20

    early = StopAtCheckpoint(run, 200.0, seen.append)
    early({"event": "loading", "done": 1, "total": 1})
    stop = early
    step_at(130)
    step_at(164, checkpoint=6)
    with pytest.raises(TimeUp):
        step_at(166.5, checkpoint=7)


def test_no_run_begins_that_would_not_come_to_a_checkpoint(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(campaign, "time", SimpleNamespace(monotonic=lambda: clock.now))
    begun = []

    def carry_out(planned, folder, *_arguments, observer, **_options):
        begun.append(planned.name)
        checkpoint = RunFolder(folder / planned.name).checkpoint
        checkpoint.parent.mkdir(parents=True)
        for seconds in (1, 30, 9):
            clock.now += seconds
            observer({"event": "step", "iteration": 1, "total": 3})
            checkpoint.touch()

    monkeypatch.setattr(campaign, "carry_out", carry_out)
    runs = [PlannedRun(name, load_recipe("synthetic", SMALL), "camvid") for name in "abc"]

    def work_until(deadline: float) -> None:
        for _ in carry_out_all(
            runs, tmp_path / str(deadline), lambda split: None, device=torch.device("cpu"), deadline=deadline
        ):
            pass

    # Each run takes 40 seconds, 31 of them to its first checkpoint; 30.5 are left for the third.
    with pytest.raises(TimeUp):
        work_until(110.5)
    assert begun == ["a", "b"]
    begun.clear()
    work_until(80 + 151)
    assert begun == ["a", "b", "c"]


def test_a_folder_without_a_run(tmp_path):
    assert read_run(tmp_path / "none") == RunRecord("waiting")


@pytest.mark.parametrize("kind", [TrainingError, RecipeError, WeightsError])
def test_runs_one_after_the_other(tmp_path, monkeypatch, kind):
    """Finished ones are passed over, one that fails can be left behind; what cannot be is known before any begins."""
    recipe = load_recipe("synthetic", SMALL)
    runs = [PlannedRun(name, recipe, "camvid") for name in "abc"]
    done = RunFolder(tmp_path / "a")
    done.create(recipe, runs[0].facts)
    done.finish({"iterations": 8})
    begun, events, failures = [], [], []

    def carry_out(planned, *_arguments, **_options):
        begun.append(planned.name)
        if planned.name == "b":
            raise kind("lost")

    def all_of(runs, **options):
        begun.clear()
        work = carry_out_all(runs, tmp_path, lambda split: None, device=torch.device("cpu"), **options)
        return [planned.name for planned in work]

    monkeypatch.setattr(campaign, "carry_out", carry_out)
    assert all_of(runs, failed=lambda *what: failures.append(what), observer=events.append) == ["c"]
    assert begun == ["b", "c"] and [(planned.name, str(error)) for planned, error in failures] == [("b", "lost")]
    assert events == [{"event": "run", "name": name, "done": at, "total": 3} for at, name in ((1, "b"), (2, "c"))]
    with pytest.raises(kind, match="lost"):
        all_of(runs)
    assert begun == ["b"]
    with pytest.raises(TimeUp):
        all_of(runs, deadline=time.monotonic())
    assert begun == []
    other = PlannedRun("a", recipe.model_copy(update={"seed": 5}), "camvid")
    with pytest.raises(TrainingError, match="was trained with seed 1, not 5"):
        all_of([*runs[1:], other])
    assert begun == []
