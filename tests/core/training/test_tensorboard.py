"""Event files, read with TensorBoard's own reader."""

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lsabinet_core.errors import TrainingError
from lsabinet_core.training.tensorboard import TensorBoardLog


def step(iteration: int, loss: float) -> dict:
    rates = {"lr": loss / 100, "images_per_s": 10 * loss}
    return {"event": "step", "iteration": iteration, "total": 100, "epoch": 1, "loss": loss, **rates}


def validation(iteration: int, miou: float, **more) -> dict:
    return {"event": "validation", "iteration": iteration, "epoch": 1, "miou": miou, **more}


def read(folder) -> dict[str, list[tuple[int, float]]]:
    accumulator = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_scalars(tmp_path):
    with TensorBoardLog(tmp_path / "tb") as log:
        log({"event": "loading", "done": 1, "total": 2})
        assert not (tmp_path / "tb").exists()
        log(step(10, 2.0))
        log(validation(15, 0.25, per_class_iou={"Sky": 0.5, "Road": None}))
        log({"event": "skipped", "iteration": 17})
        log(step(20, 1.0))
    assert read(tmp_path / "tb") == {
        "train/loss": [(10, 2.0), (20, 1.0)],
        "train/lr": [(10, 0.02), (20, 0.01)],
        "train/images_per_s": [(10, 20.0), (20, 10.0)],
        "val/miou": [(15, 0.25)],
        "val/iou/Sky": [(15, 0.5)],
    }


def test_curves_of_a_resumed_run_do_not_overlap(tmp_path):
    with TensorBoardLog(tmp_path) as log:
        for iteration in (10, 20, 30, 40):
            log(step(iteration, 1.0))
        log(validation(15, 0.1))
        log(validation(35, 0.2))
    # The checkpoint belongs to iteration 25.
    with TensorBoardLog(tmp_path) as log:
        for iteration in (30, 40, 50):
            log(step(iteration, 2.0))
        log(validation(35, 0.3))
    scalars = read(tmp_path)
    assert scalars["train/loss"] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
    assert scalars["val/miou"] == [(15, 0.1), (35, 0.3)]


def test_event_after_close_opens_a_new_file(tmp_path):
    log = TensorBoardLog(tmp_path)
    log(step(10, 1.0))
    log.close()
    log.close()
    log(step(20, 2.0))
    log.close()
    assert read(tmp_path)["train/loss"] == [(10, 1.0), (20, 2.0)]


def test_missing_tensorboard_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="pip install 'tensorboard"):
        TensorBoardLog(tmp_path)
