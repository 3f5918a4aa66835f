"""What goes wrong during a run: a clear error, a whole checkpoint, a resumed run that ends as if nothing had been."""

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
from lsabinet_core.training.campaign import TimeUp
from lsabinet_core.training.checkpoint import load_checkpoint
from lsabinet_core.training.step import GradientStep, Outcome

pytestmark = pytest.mark.usefixtures("one_thread", "no_pictures")


def test_full_disk(small_camvid, tmp_path, whole):
    def fill():
        # Of the next checkpoint. What is written to /dev/full fails as on a full disk.
        (tmp_path / "run" / f".checkpoint.{os.getpid()}.tmp.pt").symlink_to("/dev/full")

    stage = Stage(small_camvid, tmp_path / "run", at_validation=once(fill))
    expected = f"run: {os.strerror(errno.ENOSPC)}; the checkpoint of iteration 4 is whole: .* go on with --resume"
    with pytest.raises(TrainingError, match=expected):
        stage.start()
    check_checkpoint(stage.run, 4)
    stage.at_validation = lambda event: None
    assert stage.resume()["iterations"] == 6
    check_same(whole, stage.run.ema)


def test_disk_full_of_records(small_camvid, tmp_path, monkeypatch):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    (stage.run.path / "metrics.jsonl").symlink_to("/dev/full")
    # The first record is of a validation, behind its checkpoint.
    with pytest.raises(TrainingError, match="the checkpoint of iteration 2 is whole"):
        stage.trainer().fit()
    stage.run.checkpoint.unlink()
    monkeypatch.setattr("lsabinet_core.training.trainer.LOG_ITERATIONS", 1)
    with pytest.raises(TrainingError, match="there was no checkpoint yet: mend it, then start again with --resume"):
        stage.trainer().fit()


@pytest.mark.parametrize("compiles", [False, True])
def test_who_waits_for_the_compiler_is_told(small_camvid, tmp_path, monkeypatch, compiles):
    monkeypatch.setattr(torch, "compile", lambda compute: lambda *arguments: compute(*arguments))
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1", f"compile={compiles}"])
    stage.start()
    assert len(stage.of("compiling")) == compiles


@pytest.mark.parametrize("workers", [0, 1])
def test_lost_data_folder(small_camvid, tmp_path, monkeypatch, whole, workers):
    root = tmp_path / "camvid"
    shutil.copytree(small_camvid, root)
    # Too large to be kept in memory.
    monkeypatch.setattr(samples, "CACHE_BYTES", 0)
    stage = Stage(root, tmp_path / "run", at_validation=once(lambda: root.rename(tmp_path / "lost")))
    with pytest.raises(DatasetError, match=r"^[^\n]*camvid/[^\n]*\.png[^\n]*$"):
        stage.start(workers)
    done = load_checkpoint(stage.run.checkpoint, CPU)["iteration"]
    # What the worker had prepared was learned, and then not validated.
    assert done == 4 or (done == 6 and workers)
    check_checkpoint(stage.run, done)
    (tmp_path / "lost").rename(root)
    stage.at_validation = lambda event: None
    assert stage.resume(workers)["iterations"] == 6
    check_same(whole, stage.run.ema)


def test_dead_worker(small_camvid, tmp_path, whole):
    def kill():
        children = multiprocessing.active_children()
        assert children
        for child in children:
            child.kill()
            child.join()

    # Longer than what the worker has prepared ahead.
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=9"], at_validation=once(kill))
    with pytest.raises(TrainingError, match="a process that prepares batches died .* --resume and fewer --workers"):
        stage.start(workers=1)
    done = load_checkpoint(stage.run.checkpoint, CPU)["iteration"]
    assert 4 <= done < 18
    check_checkpoint(stage.run, done)


def patterned(monkeypatch, finite):
    """Steps that are finite or not as ``finite`` says."""
    pattern = iter(finite)

    def step(self, images, labels):
        return Outcome(torch.ones(()), torch.tensor(next(pattern)), torch.tensor(False))

    monkeypatch.setattr(GradientStep, "__call__", step)


def test_skipped_steps_are_counted_in_a_row(small_camvid, tmp_path, monkeypatch):
    patterned(monkeypatch, [False, False, True, False, False, True])
    stage = Stage(small_camvid, tmp_path / "on", changes=["max_skipped=3"])
    assert stage.start()["skipped"] == 4
    assert [event["iteration"] for event in stage.of("skipped")] == [1, 2, 4, 5]

    patterned(monkeypatch, [False, True, False, False, False])
    stage = Stage(small_camvid, tmp_path / "off", changes=["max_skipped=3"])
    with pytest.raises(TrainingError, match="not finite 3 times in a row, at iteration 5: start .* lower optimizer.lr"):
        stage.start()
    # The checkpoint of iteration 4 knows of the two before it.
    patterned(monkeypatch, [False])
    with pytest.raises(TrainingError, match="not finite 3 times in a row"):
        stage.resume()


def test_pictures_that_fail_cost_nothing(small_camvid, tmp_path, monkeypatch):
    def fail(run, model, metadata, val, device):
        assert metadata.architecture == "espnet" and val.split == "val"
        raise RuntimeError("out of ink")

    monkeypatch.setattr(run_pictures, "write_pictures", fail)
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=1"])
    assert stage.start()["iterations"] == 2
    assert "out of ink" in stage.of("warning")[0]["message"]
    assert json.loads((stage.run.path / "summary.json").read_text())["iterations"] == 2


def test_the_end_of_time_passes_through_the_pictures(small_camvid, tmp_path, monkeypatch):
    def stop(*_arguments):
        raise TimeUp

    monkeypatch.setattr(run_pictures, "write_pictures", stop)
    stage = Stage(small_camvid, tmp_path / "run", changes=["epochs=1"])
    with pytest.raises(TimeUp):
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
    assert summary["weights"] == "last.safetensors" and not stage.run.ema.exists()


def test_distillation_from_a_runs_weights(small_camvid, tmp_path, whole):
    plain = Stage(small_camvid, tmp_path / "plain", changes=["epochs=1"])
    plain.start()
    taught = Stage(small_camvid, tmp_path / "taught", changes=["epochs=1", f"distillation.teacher={whole}"])
    taught.start()
    assert taught.of("step")[0]["loss"] > plain.of("step")[0]["loss"] + 1e-3


def test_settings_that_cannot_run_here(small_camvid, tmp_path):
    with pytest.raises(RecipeError, match="precision: fp16 needs a CUDA GPU, the device is cpu"):
        Stage(small_camvid, tmp_path, changes=["precision=fp16"]).trainer()


def test_no_labelled_pixel_to_validate_on(small_camvid, tmp_path):
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
    assert summary["val_miou"] is None and summary["best_val_miou"] is None
    records = [strictly(line) for line in (stage.run.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["val"]["miou"] for record in records if "val" in record] == [None, None]
    assert read_metadata(stage.run.last).training["val_miou"] is None and not stage.run.best.exists()


def test_one_process_at_a_time(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    with stage.run.lock(), pytest.raises(TrainingError, match="another process trains in .*run: wait for it"):
        stage.trainer().fit()


def test_a_worker_does_not_hold_the_folder(small_camvid, tmp_path):
    """One may outlive the process that was killed."""
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


def test_the_record_of_sessions(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1"], once(lambda: None))
    stage.start()
    document = json.loads((stage.run.path / "run.json").read_text())
    (session,) = document["sessions"]
    assert (session["device"], session["precision"], session["threads"]) == ("cpu", "fp32", 1)
    assert session["input_pipeline"] == "workers" and session["compiled"] is False
    assert session["versions"]["torch"] == torch.__version__ and "git_commit" in session
    assert (session["train_images"], session["val_images"]) == (8, 4)
    half_written = stage.run.path / ".checkpoint.123.tmp.pt"
    half_written.touch()
    assert stage.run.begin_session({"device": "cpu", "precision": "bf16"}) == ["precision"]
    assert not half_written.exists() and stage.run.checkpoint.exists()
    document["sessions"][0]["git_commit"] = "0" * 40
    (stage.run.path / "run.json").write_text(json.dumps(document))
    stage.run.recipe.write_text(stage.run.recipe.read_text().replace("seed: 1", "seed: 2"))
    assert stage.run.begin_session({"device": "cpu"}) == ["recipe", "git commit"]


def test_another_number_of_images(small_camvid, tmp_path):
    """A resumed run would go through the epochs in another order."""
    stage = Stage(small_camvid, tmp_path / "run", at_validation=once(lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        stage.start()
    stage.root = tmp_path / "more"
    shutil.copytree(small_camvid, stage.root)
    listing = stage.root / "train.txt"
    listing.write_text(listing.read_text() + listing.read_text().splitlines()[0] + "\n")
    with pytest.raises(TrainingError, match="begun with 8 train images, now there are 9: bring the data set back"):
        stage.resume()
    stage.root = small_camvid
    stage.at_validation = lambda event: None
    assert stage.resume()["iterations"] == 6


def test_damaged_facts(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run")
    stage.run.create(stage.recipe, {})
    (stage.run.path / "run.json").write_text("{")
    for read in (stage.run.open, stage.resume):
        with pytest.raises(TrainingError, match="run.json is damaged"):
            read()


def test_a_split_without_labels_to_validate_on(small_camvid, tmp_path, monkeypatch):
    """It is noticed before the first step."""
    stage = Stage(small_camvid, tmp_path / "run")
    labelled = ListedDataset.sample
    monkeypatch.setattr(ListedDataset, "sample", lambda self, index: replace(labelled(self, index), label=None))
    with pytest.raises(DatasetError, match="expected labelled images to validate on, camvid val has no labels"):
        stage.trainer()


def test_a_run_that_failed_at_once_may_be_started_anew(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", ["epochs=1"])
    stage.run.create(stage.recipe, {})
    stage.run.record(iteration=1, loss=99.0)
    stage.start()
    lines = (stage.run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [2, 2]
    # Whoever deletes the checkpoint to save space keeps the run.
    stage.run.checkpoint.unlink()
    with pytest.raises(TrainingError, match="holds a finished run"):
        stage.run.create(stage.recipe, {})
    with pytest.raises(TrainingError, match="complete, and its checkpoint is gone"):
        stage.resume()
    stage.run.checkpoint.touch()
    (stage.run.path / "summary.json").unlink()
    with pytest.raises(TrainingError, match="holds a run already: go on with --resume"):
        stage.run.create(stage.recipe, {})


def test_weights_beyond_fp16_cost_nothing(small_camvid, tmp_path, monkeypatch):
    """They are written in fp32, and the run goes on."""
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


def test_one_value_of_a_channel(small_camvid, tmp_path):
    stage = Stage(small_camvid, tmp_path / "run", ["model=lednet", "batch_size=1", "ema_decay=0"])
    with pytest.raises(TrainingError, match="batch normalisation has a single value .* larger crops"):
        stage.start()


def test_start_from_a_runs_weights(small_camvid, tmp_path, whole):
    changes = ["epochs=1", "optimizer.lr=1e-9", "ema_decay=0"]
    continued = Stage(small_camvid, tmp_path / "on", changes=[*changes, f"initial_weights={whole}"])
    before = safetensors.torch.load_file(whole)
    continued.start()
    after = safetensors.torch.load_file(continued.run.last)
    assert all(torch.allclose(before[key], after[key], atol=1e-4) for key in before if not is_statistic(key))


def is_statistic(key):
    return "running" in key or "num_batches" in key
