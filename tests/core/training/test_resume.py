"""A run that is interrupted at any point and resumed ends with the same weights as an uninterrupted run."""

import errno
import json
import os

import numpy as np
import pytest
from staged_run import Stage, check_checkpoint, check_same, once

from lsabinet_core.errors import TrainingError
from lsabinet_core.training.validation import Validation

pytestmark = pytest.mark.usefixtures("one_thread", "no_pictures")


def test_interrupted_before_the_first_checkpoint(small_camvid, tmp_path, whole):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    stage.run.record(iteration=1, loss=3.0)
    assert stage.resume()["iterations"] == 6
    assert "no checkpoint yet" in stage.of("warning")[0]["message"]
    lines = (stage.run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [2, 4, 6, 6]
    check_same(whole, stage.run.ema)


def test_interrupted_before_the_summary(small_camvid, tmp_path, whole):
    stage = Stage(small_camvid, tmp_path / "run")
    expected = stage.start()
    (stage.run.path / "summary.json").unlink()
    stage.run.ema.unlink()
    got = stage.resume()
    assert {**got, "seconds": 0} == {**expected, "seconds": 0}
    assert json.loads((stage.run.path / "summary.json").read_text()) == got
    check_same(whole, stage.run.ema)
    with pytest.raises(TrainingError, match="is complete after 6 iterations: nothing to resume"):
        stage.resume()


def cut_in_validation(stage: Stage, iteration: int, monkeypatch) -> None:
    """Interrupt the run in the validation of the given iteration, after its checkpoint was written."""

    def cut(event):
        if event["iteration"] == iteration:
            raise KeyboardInterrupt

    # Every iteration counts as longer than the interval between checkpoints.
    monkeypatch.setattr("lsabinet_core.training.trainer.CHECKPOINT_SECONDS", -1)
    stage.at_validation = cut
    with pytest.raises(KeyboardInterrupt):
        stage.start()
    check_checkpoint(stage.run, iteration)


def test_interrupted_during_the_last_validation(small_camvid, tmp_path, monkeypatch, whole):
    stage = Stage(small_camvid, tmp_path / "run")
    cut_in_validation(stage, 6, monkeypatch)
    stage.events.clear()
    stage.at_validation = lambda event: None
    assert stage.resume()["iterations"] == 6
    assert stage.of("step") == []
    assert [event["iteration"] for event in stage.of("validation")] == [6]
    check_same(whole, stage.run.ema)


def test_interrupted_during_an_earlier_validation(small_camvid, tmp_path, monkeypatch, whole):
    """The missing validation is repeated, and the best mIoU so far comes from the records."""
    stage = Stage(small_camvid, tmp_path / "run")
    cut_in_validation(stage, 4, monkeypatch)
    # The same state as after a kill before the record was written.
    stage.run.truncate_metrics(3)
    records = stage.run.path / "metrics.jsonl"
    lines = records.read_text().splitlines()
    first = json.loads(lines[-1])
    first["val"]["miou"] = 0.99
    records.write_text("".join(f"{line}\n" for line in (*lines[:-1], json.dumps(first))))
    stage.events.clear()
    stage.at_validation = lambda event: None
    assert stage.resume()["best_val_miou"] == 0.99
    assert [event["iteration"] for event in stage.of("validation")] == [4, 6]
    check_same(whole, stage.run.ema)


@pytest.mark.parametrize("iteration", [4, 6])
def test_interrupted_between_checkpoint_and_weights(small_camvid, tmp_path, monkeypatch, whole, iteration):
    """The checkpoint is intact, the validation is repeated, and the best weights are written."""
    stage = Stage(small_camvid, tmp_path / "run")

    def rising(self, network, measure=Validation.measure):
        report = measure(self, network)
        confusion = np.eye(11, dtype=np.int64)
        confusion[0, 1] = 20 - len(stage.of("validation"))
        report.confusion.matrix[:] = confusion
        return report

    def refuse(self, model, average, miou, best, facts, save=Validation.save):
        assert best
        if facts["iterations"] == iteration:
            raise OSError(errno.EIO, os.strerror(errno.EIO), "best.safetensors")
        save(self, model, average, miou, best, facts)

    monkeypatch.setattr(Validation, "measure", rising)
    with monkeypatch.context() as patch:
        patch.setattr(Validation, "save", refuse)
        with pytest.raises(TrainingError, match=f"best.safetensors: .*; the checkpoint of iteration {iteration} is "):
            stage.start()
    check_checkpoint(stage.run, iteration)
    assert iteration not in stage.run.validated()
    summary = stage.resume()
    assert list(stage.run.validated()) == [2, 4, 6]
    assert summary["best_val_miou"] == summary["val_miou"]
    check_same(whole, stage.run.best)


def test_resumed_run_repeats_the_dropout_masks(small_camvid, tmp_path):
    """Dropout is the only source of randomness within a step."""
    changes = ["model=enet", "ema_decay=0", "epochs=2"]
    stages = [Stage(small_camvid, tmp_path / name, changes) for name in ("whole", "cut")]
    stages[0].start()
    stages[1].at_validation = once(lambda: None)
    stages[1].observe = lambda event: (_ for _ in ()).throw(KeyboardInterrupt) if cut_at(event, 3) else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsabinet_core.training.trainer.CHECKPOINT_SECONDS", -1)
        patch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
        with pytest.raises(KeyboardInterrupt):
            stages[1].start()
    check_checkpoint(stages[1].run, 2)
    stages[1].observe = lambda event: None
    stages[1].resume()
    check_same(stages[0].run.last, stages[1].run.last)


def cut_at(event, iteration):
    return event["event"] == "step" and event["iteration"] == iteration
