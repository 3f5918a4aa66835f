"""Failures during a run: a clear error, an intact checkpoint, and a resumed run with the same final weights."""

import errno
import json
import multiprocessing
import os
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from staged_run import CPU, Stage, check_checkpoint, check_same, once

from lsabinet_core.data import open_dataset
from lsabinet_core.data.listed import ListedDataset
from lsabinet_core.errors import DatasetError, RecipeError, TrainingError
from lsabinet_core.models.weights import read_metadata
from lsabinet_core.training import run_pictures, samples
from lsabinet_core.training.checkpoint import load_checkpoint
from lsabinet_core.training.step import GradientStep, Outcome

pytestmark = pytest.mark.usefixtures("one_thread", "no_pictures")


def test_disk_full_while_writing_a_checkpoint(small_camvid, tmp_path, whole, monkeypatch):
    def fill():
        # The next checkpoint's temporary file. Writing to /dev/full fails as on a full disk.
        monkeypatch.setattr("lsabinet_core.files.secrets.token_hex", lambda length: "0" * 2 * length)
        (tmp_path / "run" / f".{'0' * 16}.tmp.pt").symlink_to("/dev/full")

    stage = Stage(small_camvid, tmp_path / "run", at_validation=once(fill))
    full = f"run/checkpoint.pt: {os.strerror(errno.ENOSPC)}"
    expected = f"{full}; .*checkpoint of iteration 4 .*--resume"
    with pytest.raises(TrainingError, match=expected):
        stage.start()
    check_checkpoint(stage.run, 4)
    stage.at_validation = lambda event: None
    assert stage.resume()["iterations"] == 6
    check_same(whole, stage.run.ema)


def test_disk_full_while_writing_records(small_camvid, tmp_path, monkeypatch):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    (stage.run.path / "metrics.jsonl").symlink_to("/dev/full")
    # The first record is written by a validation, after its checkpoint.
    with pytest.raises(TrainingError, match=r"metrics.jsonl: .*checkpoint of iteration 2 "):
        stage.trainer().fit()
    stage.run.checkpoint.unlink()
    monkeypatch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
    with pytest.raises(TrainingError, match=r"no checkpoint yet: .*--resume"):
        stage.trainer().fit()


@pytest.mark.parametrize("compiles", [False, True])
def test_compiling_is_reported(small_camvid, tmp_path, monkeypatch, compiles):
    monkeypatch.setattr(torch, "compile", lambda compute: lambda *arguments: compute(*arguments))
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1", f"compile={compiles}"])
    stage.start()
    assert len(stage.of("compiling")) == compiles


@pytest.mark.parametrize("workers", [0, 1])
def test_data_folder_disappears(small_camvid, tmp_path, monkeypatch, whole, workers):
    root = tmp_path / "camvid"
    shutil.copytree(small_camvid, root)
    # Too large for the memory cache.
    monkeypatch.setattr(samples, "CACHE_BYTES", 0)
    stage = Stage(root, tmp_path / "run", at_validation=once(lambda: root.rename(tmp_path / "lost")))
    with pytest.raises(DatasetError, match=r"^[^\n]*camvid/[^\n]*\.png[^\n]*$"):
        stage.start(workers)
    done = load_checkpoint(stage.run.checkpoint, CPU)["iteration"]
    # The batches prepared by the worker were trained on, but then not validated.
    assert done == 4 or (done == 6 and workers)
    check_checkpoint(stage.run, done)
    (tmp_path / "lost").rename(root)
    stage.at_validation = lambda event: None
    assert stage.resume(workers)["iterations"] == 6
    check_same(whole, stage.run.ema)


def test_killed_worker_stops_the_run(small_camvid, tmp_path, whole):
    def kill():
        children = multiprocessing.active_children()
        assert children
        for child in children:
            child.kill()
            child.join()

    # Longer than the batches that the worker has prepared in advance.
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=9"], at_validation=once(kill))
    with pytest.raises(TrainingError, match=r"a worker process died .* --resume and fewer --workers"):
        stage.start(workers=1)
    done = load_checkpoint(stage.run.checkpoint, CPU)["iteration"]
    assert 4 <= done < 18
    check_checkpoint(stage.run, done)


def patterned(monkeypatch, finite):
    """Replace the steps by ones whose outcomes are finite according to the list ``finite``."""
    pattern = iter(finite)

    def step(self, images, labels):
        return Outcome(torch.ones(()), torch.tensor(next(pattern)), torch.tensor(False))

    monkeypatch.setattr(GradientStep, "__call__", step)


def test_consecutive_skipped_steps_stop_the_run(small_camvid, tmp_path, monkeypatch):
    patterned(monkeypatch, [False, False, True, False, False, True])
    stage = Stage(small_camvid, tmp_path / "on", changes=["max_skipped=3"])
    assert stage.start()["skipped"] == 4
    assert [event["iteration"] for event in stage.of("skipped")] == [1, 2, 4, 5]

    patterned(monkeypatch, [False, True, False, False, False])
    stage = Stage(small_camvid, tmp_path / "off", changes=["max_skipped=3"])
    with pytest.raises(
        TrainingError, match=r"not finite 3 times in a row, at iteration 5: start .* lower optimizer.lr"
    ):
        stage.start()
    # The checkpoint of iteration 4 includes the two skipped steps before it.
    patterned(monkeypatch, [False])
    with pytest.raises(TrainingError, match="not finite 3 times in a row"):
        stage.resume()


def test_failed_pictures_do_not_fail_the_run(small_camvid, tmp_path, monkeypatch):
    def fail(run, model, metadata, val, device):
        assert metadata.architecture == "espnet"
        assert val.split == "val"
        raise RuntimeError("out of ink")

    monkeypatch.setattr(run_pictures, "write_pictures", fail)
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=1"])
    assert stage.start()["iterations"] == 2
    assert "out of ink" in stage.of("warning")[0]["message"]
    assert json.loads((stage.run.path / "summary.json").read_text())["iterations"] == 2


def test_ctrl_c_while_drawing_pictures(small_camvid, tmp_path, monkeypatch):
    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_pictures, "write_pictures", stop)
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=1"])
    with pytest.raises(KeyboardInterrupt):
        stage.start()
    assert stage.run.is_finished


def test_events(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=1", "ema_decay=0"])
    summary = stage.start()
    assert stage.of("loading")[-1] == {"event": "loading", "done": 8, "total": 8}
    (step,) = stage.of("step")
    assert set(step) == {"event", "iteration", "total", "epoch", "loss", "lr", "images_per_s"}
    (validation,) = stage.of("validation")
    assert validation["miou"] == summary["val_miou"]
    assert set(validation["per_class_iou"]) == set(open_dataset("camvid", small_camvid, "val").label_set.names)
    assert summary["weights"] == "last.safetensors"
    assert not stage.run.ema.exists()


def test_distillation_from_weights_of_a_run(small_camvid, tmp_path, whole):
    plain = Stage(small_camvid, tmp_path / "plain", changes=["epochs=1"])
    plain.start()
    taught = Stage(small_camvid, tmp_path / "taught", changes=["epochs=1", f"distillation.teacher={whole}"])
    taught.start()
    assert taught.of("step")[0]["loss"] > plain.of("step")[0]["loss"] + 1e-3


def test_fp16_needs_a_gpu(small_camvid, tmp_path):
    with pytest.raises(RecipeError, match="precision: fp16 needs a CUDA GPU, the device is cpu"):
        Stage(small_camvid, tmp_path, changes=["precision=fp16"]).trainer()


def test_validation_without_labelled_pixels(small_camvid, tmp_path):
    root = tmp_path / "camvid"
    shutil.copytree(small_camvid, root)
    for path in (root / "valannot").iterdir():
        cv2.imwrite(str(path), np.full((72, 96), 11, np.uint8))
    stage = Stage(root, tmp_path / "run", ["ema_decay=0", "epochs=2"], once(lambda: (_ for _ in ()).throw(OSError)))
    with pytest.raises(TrainingError):
        stage.start()
    stage.at_validation = lambda event: None
    stage.resume()

    def strictly(text):
        return json.loads(text, parse_constant=pytest.fail)

    summary = strictly((stage.run.path / "summary.json").read_text())
    assert summary["val_miou"] is None
    assert summary["best_val_miou"] is None
    records = [strictly(line) for line in (stage.run.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["val"]["miou"] for record in records if "val" in record] == [None, None]
    assert read_metadata(stage.run.last).training["val_miou"] is None
    assert not stage.run.best.exists()


def test_folder_is_locked_by_one_process(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    with stage.run.lock(), pytest.raises(TrainingError, match=r"another process trains in .*run: wait for it"):
        stage.trainer().fit()


def test_worker_does_not_keep_the_folder_locked(small_camvid, tmp_path):
    """A worker may outlive the killed main process."""
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    context = multiprocessing.get_context("fork")
    begun, end = context.Event(), context.Event()
    with stage.run.lock():
        worker = context.Process(target=lambda: (begun.set(), end.wait(60)))
        worker.start()
        assert begun.wait(60)
        with pytest.raises(TrainingError, match="another process trains"), stage.run.lock():
            pass
    with stage.run.lock():
        assert worker.is_alive()
    end.set()
    worker.join()


def test_sessions_are_recorded(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1"], once(lambda: None))
    stage.start()
    document = json.loads((stage.run.path / "run.json").read_text())
    (session,) = document["sessions"]
    assert (session["device"], session["precision"], session["threads"]) == ("cpu", "fp32", 1)
    assert session["input_pipeline"] == "workers"
    assert session["compiled"] is False
    assert session["versions"]["torch"] == torch.__version__
    assert "git_commit" in session
    assert (session["train_images"], session["val_images"]) == (8, 4)
    half_written = stage.run.path / ".checkpoint.123.tmp.pt"
    half_written.touch()
    assert stage.run.begin_session({"device": "cpu", "precision": "bf16"}) == ["precision"]
    assert not half_written.exists()
    assert stage.run.checkpoint.exists()
    document["sessions"][0]["git_commit"] = "0" * 40
    (stage.run.path / "run.json").write_text(json.dumps(document))
    stage.run.recipe.write_text(stage.run.recipe.read_text().replace("seed: 1", "seed: 2"))
    assert stage.run.begin_session({"device": "cpu"}) == ["recipe", "git commit"]


def test_changed_number_of_images_is_rejected(small_camvid, tmp_path):
    """A resumed run would visit the images in another order."""
    stage = Stage(small_camvid, tmp_path / "run", at_validation=once(lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        stage.start()
    stage.root = tmp_path / "more"
    shutil.copytree(small_camvid, stage.root)
    listing = stage.root / "train.txt"
    listing.write_text(listing.read_text() + listing.read_text().splitlines()[0] + "\n")
    with pytest.raises(TrainingError, match=r"8 train images, now there are 9: .*--out"):
        stage.resume()
    stage.root = small_camvid
    stage.at_validation = lambda event: None
    assert stage.resume()["iterations"] == 6


def test_corrupt_run_json_is_rejected(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    (stage.run.path / "run.json").write_text("{")
    for read in (stage.run.open, stage.resume):
        with pytest.raises(TrainingError, match=r"run.json is corrupt"):
            read()


def test_validation_split_without_labels_is_rejected(small_camvid, tmp_path, monkeypatch):
    """Detected before the first step."""
    stage = Stage(small_camvid, tmp_path / "run")
    labelled = ListedDataset.sample
    monkeypatch.setattr(ListedDataset, "sample", lambda self, index: replace(labelled(self, index), label=None))
    with pytest.raises(DatasetError, match="expected labelled images to validate on, camvid val has no labels"):
        stage.trainer()


def test_run_without_checkpoint_may_be_restarted(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1"])
    stage.run.create(stage.recipe, {})
    stage.run.record(iteration=1, loss=99.0)
    stage.start()
    lines = (stage.run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [2, 2]
    # Deleting the checkpoint of a finished run to save space must not expose the run to being overwritten.
    stage.run.checkpoint.unlink()
    with pytest.raises(TrainingError, match="holds a finished run"):
        stage.run.create(stage.recipe, {})
    with pytest.raises(TrainingError, match="nothing to resume"):
        stage.resume()
    stage.run.checkpoint.touch()
    (stage.run.path / "summary.json").unlink()
    with pytest.raises(TrainingError, match=r"already holds a run: .*--resume"):
        stage.run.create(stage.recipe, {})


def test_weights_beyond_fp16_are_saved_in_fp32(small_camvid, tmp_path, monkeypatch):
    """The weights are written in fp32, and the run continues."""
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1", "ema_decay=0"])
    trainer = None

    def widen(event):
        next(iter(trainer.model.buffers())).fill_(2e5)

    stage.at_validation = widen
    stage.run.create(stage.recipe, {})
    trainer = stage.trainer()
    trainer.fit()
    weights = safetensors.torch.load_file(stage.run.last)
    assert max(float(value.float().max()) for value in weights.values()) >= 1.9e5


def test_single_value_per_channel_is_rejected(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", ["model=lednet", "batch_size=1", "ema_decay=0"])
    with pytest.raises(TrainingError, match=r"batch normalisation .* single value .* larger crops"):
        stage.start()


def test_start_from_weights_of_a_run(small_camvid, tmp_path, whole):
    changes = ["epochs=1", "optimizer.lr=1e-9", "ema_decay=0"]
    continued = Stage(small_camvid, tmp_path / "on", changes=[*changes, f"initial_weights={whole}"])
    before = safetensors.torch.load_file(whole)
    continued.start()
    after = safetensors.torch.load_file(continued.run.last)
    assert all(torch.allclose(before[key], after[key], atol=1e-4) for key in before if not is_statistic(key))


def is_statistic(key):
    return "running" in key or "num_batches" in key
