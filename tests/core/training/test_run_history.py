"""Reading the folder of a finished, an unfinished and a corrupt run."""

import json

import numpy as np
import pytest

from lsabinet_core.errors import TrainingError
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.run_history import differences, find_runs, read_history


def make_run(path, *overrides, steps=(), validations=(), finished=None, **facts):
    """A run as recorded by the Trainer: ``steps`` are (iteration, epoch), ``validations`` (iteration, epoch, mIoU)."""
    run = RunFolder(path)
    run.create(load_recipe("camvid", overrides), {"dataset": "camvid", "split": "train", "val_split": "val", **facts})
    records = [
        {"iteration": i, "epoch": e, "loss": 10 / i, "lr": 1e-3, "images_per_s": 4.0 + i / 100} for i, e in steps
    ] + [{"iteration": i, "epoch": e, "val": {"miou": miou}} for i, e, miou in validations]
    lines = (json.dumps({**record, "time": 100.0 + record["iteration"]}) for record in records)
    path.joinpath("metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if finished:
        run.finish(finished)
    return path


def test_finished_run(tmp_path):
    steps, validations = [(10, 1), (20, 2), (30, 3)], [(12, 1, 0.3), (24, 2, 0.5), (36, 3, 0.4)]
    summary = {"iterations": 36, "val_miou": 0.4, "best_val_miou": 0.5, "seconds": 77}
    history = read_history(make_run(tmp_path, "epochs=3", steps=steps, validations=validations, finished=summary))
    assert history.finished
    assert history.iteration == history.total_iterations == 36
    assert history.epoch_iterations == 12
    assert (history.last_miou, history.best_miou, history.seconds) == (0.4, 0.5, 77)
    assert history.images_per_s == pytest.approx(4.2)
    np.testing.assert_allclose(history.series("loss"), [1, 0.5, 1 / 3])
    np.testing.assert_array_equal(history.validation_iterations, [12, 24, 36])


def test_run_in_progress(tmp_path):
    history = read_history(make_run(tmp_path, "epochs=4", steps=[(10, 1), (20, 2)], validations=[(12, 1, None)]))
    assert not history.finished
    assert (history.iteration, history.total_iterations) == (20, 48)
    assert history.last_miou is None
    assert history.best_miou is None
    assert np.isnan(history.miou).all()
    assert history.seconds == 10


@pytest.mark.parametrize("length", [1, 7, 12, 45, 46, 200])
def test_epoch_length_is_inferred_from_records(tmp_path, length):
    total = 25 * length
    steps = [(i, (i - 1) // length + 1) for i in range(10, total + 1, 10)]
    for kept in (0, len(steps) // 2, len(steps)):
        history = read_history(make_run(tmp_path / str(kept), "epochs=25", steps=steps[:kept]))
        assert history.epoch_iterations in (length, None)
    assert history.epoch_iterations == length
    assert history.total_iterations == total


def test_interruption_is_not_training_time(tmp_path):
    path = make_run(tmp_path)
    times = [0, 10, 20, 30, 5000, 5010, 5020]
    records = [{"iteration": 10 * i, "loss": 1.0, "time": time} for i, time in enumerate(times, 1)]
    path.joinpath("metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read_history(path).seconds == 50


def test_run_without_records(tmp_path):
    run = make_run(tmp_path)
    (run / "metrics.jsonl").unlink()
    history = read_history(run)
    assert (history.iteration, history.total_iterations, history.seconds) == (0, None, None)
    assert history.last_miou is history.best_miou is history.images_per_s is None
    assert len(history.series("loss")) == 0


def test_incomplete_last_record_is_ignored(tmp_path):
    run = make_run(tmp_path, steps=[(10, 1), (20, 1)])
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"iteration": 30, "lo')
    assert read_history(run).iteration == 20


@pytest.mark.parametrize(
    "line",
    ["", "no json", "[1]", '{"loss": 1, "time": 1}', '{"iteration": 3, "val": 5, "time": 1}', '{"iteration": 3}'],
)
def test_corrupt_record_is_named(tmp_path, line):
    run = make_run(tmp_path, steps=[(10, 1)])
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(f'{line}\n{{"iteration": 20, "loss": 1, "time": 2}}\n')
    with pytest.raises(TrainingError, match=r"metrics.jsonl, line 2: expected a record"):
        read_history(run)


@pytest.mark.parametrize("name", ["recipe.yaml", "run.json", "summary.json"])
@pytest.mark.parametrize("content", [b"a: [", b"{", b"7", b"\xff\xfe"])
def test_corrupt_files_are_named(tmp_path, name, content):
    run = make_run(tmp_path, finished={"iterations": 1})
    (run / name).write_bytes(content)
    with pytest.raises(TrainingError, match=name):
        read_history(run)


def test_finding_runs(tmp_path):
    for name in ("b", "a", "ablation/lrfa/seed1"):
        make_run(tmp_path / "runs" / name)
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "a" / "tensorboard").mkdir()
    runs = tmp_path / "runs"
    assert find_runs(runs) == [runs / "a", runs / "ablation" / "lrfa" / "seed1", runs / "b"]
    assert find_runs(runs / "a") == [runs / "a"]
    with pytest.raises(TrainingError, match=r"empty holds no run: expected recipe.yaml and run.json"):
        find_runs(runs / "empty")
    with pytest.raises(TrainingError, match="no such folder"):
        find_runs(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match="is not a run"):
        read_history(runs)


def test_differences(tmp_path):
    one = make_run(tmp_path / "one", "optimizer.lr=0.1", "description=first", recipe="a")
    two = make_run(tmp_path / "two", "optimizer.lr=0.2", "augmentation.scales=[1, 2]", "description=second", recipe="b")
    text = (two / "recipe.yaml").read_text()
    (two / "recipe.yaml").write_text(text.replace("ema_decay:", "ema_rate:"))
    found = differences([read_history(one), read_history(two)])
    shipped = load_recipe("camvid")
    decay = shipped.ema_decay
    assert found == {
        "optimizer.lr": [0.1, 0.2],
        "augmentation.scales": [list(shipped.augmentation.scales), [1.0, 2.0]],
        "ema_decay": [decay, None],
        "ema_rate": [None, decay],
    }
    assert differences([read_history(one), read_history(one)]) == {}
