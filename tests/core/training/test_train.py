"""Training runs started from the command line: they learn, and can be resumed after kill -9."""

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from lsabinet_core.cli import main
from lsabinet_core.models.weights import load_weights
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[3]
SMALL = [
    *("--set", "augmentation.crop_size=[64, 64]", "--set", "augmentation.scales=[0.75, 1.0]"),
    *("--set", "batch_size=4", "--set", "schedule.warmup_iterations=2", "--set", "input_size=[72, 96]"),
    *("--recipe", "synthetic", "--threads", "1", "--workers", "1"),
]
WHOLE = [
    *(*SMALL, "--set", "epochs=15", "--set", "validate_epochs=5", "--set", "optimizer.lr=0.006"),
    *("--set", "auxiliary_weight=0.4", "--set", "ema_decay=0.9", "--set", "accumulation=2", "--set", "clip_norm=5"),
]


def arguments(root: Path, out: Path, *options: str) -> list[str]:
    return ["train", "--dataset", "camvid", "--root", str(root), "--out", str(out), *options]


def train(root: Path, out: Path, *options: str) -> tuple[int, str, str]:
    """Run the command in this process: returns exit status, standard output and standard error."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(arguments(root, out, *options))
    return status, output.getvalue(), errors.getvalue()


def records(out: Path) -> list[dict]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key in ("iteration", "loss", "lr")} for line in lines
    ]


@pytest.fixture(scope="module")
def finished(small_camvid, tmp_path_factory):
    """A run of 30 iterations on eight small scenes, and its output."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    status, output, errors = train(small_camvid, out, *WHOLE)
    assert status == 0, errors
    return out, output, errors


def test_training_reduces_loss_and_beats_chance(finished):
    out, output, errors = finished
    losses = [record["loss"] for record in records(out) if "loss" in record]
    # Both losses come from a single batch of four images; the ratio is 0.71 to 0.85 with seeds 1 to 4.
    assert losses[-1] < 0.9 * losses[0]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["iterations"] == 30
    assert summary["skipped"] == 0
    # Always predicting Road scores 3 %, random guessing 9 %.
    assert summary["val_miou"] > 0.18
    assert "val mIoU" in output
    assert "ema.safetensors" in output
    assert "ETA" in errors


def test_files_of_a_run(finished):
    out, _, _ = finished
    _, metadata = load_weights(out / "last.safetensors")
    assert metadata.architecture == "lsabinet"
    assert metadata.input_size == (72, 96)
    assert metadata.dataset == "camvid train"
    assert "research" in metadata.licence
    assert metadata.training["iterations"] == 30
    assert metadata.training["recipe"]["augmentation"]["crop_size"] == [64, 64]
    facts = json.loads((out / "run.json").read_text())
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["safetensors"] == safetensors.__version__
    assert facts["seed"] == 1
    assert facts["processes"] == 1
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert facts["git_commit"] == (commit.stdout.strip() if commit.returncode == 0 else None)
    recipe = load_recipe(out / "recipe.yaml")
    assert recipe.accumulation == 2
    assert recipe.optimizer.lr == 0.006
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    validations = [
        json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines() if "val" in json.loads(line)
    ]
    assert [entry["iteration"] for entry in validations] == [10, 20, 30]


def test_metadata_of_weights_files(finished):
    out, _, _ = finished
    summary = json.loads((out / "summary.json").read_text())
    trained = {name: load_weights(out / f"{name}.safetensors")[1].training for name in ("last", "ema", "best")}
    assert {name: (facts["weights"], facts["averaged"]) for name, facts in trained.items()} == {
        "last": ("last", False),
        "ema": ("ema", True),
        "best": ("best", True),
    }
    # The average was validated, and is the file that the summary recommends.
    assert summary["weights"] == "ema.safetensors"
    assert "val_miou" not in trained["last"]
    assert trained["ema"]["val_miou"] == summary["val_miou"]
    assert trained["best"]["val_miou"] == summary["best_val_miou"]
    tensors = {name: safetensors.torch.load_file(out / f"{name}.safetensors") for name in trained}
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    for name, kept in (("last", state["network"]), ("ema", state["average"])):
        prefix = {"last": "network.", "ema": "module."}[name]
        # Auxiliary heads are used in training only.
        assert set(tensors[name]) == {key[len(prefix) :] for key in kept if key.startswith(prefix)}
        assert all(torch.equal(tensor, kept[prefix + key].to(tensor.dtype)) for key, tensor in tensors[name].items())
    assert any(key.startswith("heads.") for key in state["network"])


def test_killed_and_resumed_run_is_identical(small_camvid, finished, tmp_path):
    whole, _, _ = finished
    out = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "lsabinet_core.cli", *arguments(small_camvid, out, *WHOLE)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    # Iteration 10, its validation and checkpoint, and iteration 20, which that checkpoint lacks.
    while not (out / "checkpoint.pt").exists() or len((out / "metrics.jsonl").read_text().splitlines()) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "summary.json").exists()
    # An incomplete record, as left by a kill in the middle of a write.
    with (out / "metrics.jsonl").open("a") as stream:
        stream.write('{"iteration": 21, "lo')
    status, _, errors = train(small_camvid, out, "--resume", "--threads", "1")
    assert status == 0, errors
    assert records(out) == records(whole)
    for name in ("last.safetensors", "ema.safetensors", "best.safetensors"):
        expected, got = safetensors.torch.load_file(whole / name), safetensors.torch.load_file(out / name)
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert list(out.glob(".*.tmp*")) == []


def test_time_limit_prints_how_to_continue(small_camvid, finished, tmp_path, monkeypatch):
    whole, _, _ = finished
    out = tmp_path / "late"
    with monkeypatch.context() as patch:
        # Simulate loading that takes longer than the limit.
        late = SimpleNamespace(monotonic=lambda: time.monotonic() + 1e6)
        patch.setattr("lsabinet_core.training.trainer.time", late)
        status, output, _ = train(small_camvid, out, *WHOLE, "--seconds", "1000")
    assert status == 0
    assert (out / "checkpoint.pt").exists()
    assert not (out / "summary.json").exists()
    assert "stopped at iteration 1 " in output
    command = shlex.split(output.partition("continue with: ")[2])
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert main([*command[1:], "--threads", "1"]) == 0, errors.getvalue()
    assert records(out) == records(whole)


@pytest.fixture
def fail(small_camvid):
    """Run a command that must fail; returns its error, which is one line."""

    def run(out: Path, *options: str, root: Path = small_camvid) -> str:
        status, _, errors = train(root, out, *options)
        assert status == 1
        return errors.strip().splitlines()[-1]

    return run


def test_errors_are_one_line(finished, tmp_path, fail):
    whole, _, _ = finished
    assert "holds a finished run" in fail(whole, *SMALL)
    assert "is complete after 30 iterations" in fail(whole, "--resume")
    assert "no run to resume" in fail(tmp_path / "none", "--resume")
    assert "train.txt" in fail(tmp_path / "a", *SMALL, root=tmp_path)
    assert "unknown key 'optimizer.rate'" in fail(tmp_path / "b", "--set", "optimizer.rate=1")
    assert "unknown model 'hrnet'" in fail(tmp_path / "c", *SMALL, "--model", "hrnet")
    assert "precision: fp16 needs a CUDA GPU" in fail(
        tmp_path / "d", *SMALL, "--set", "precision=fp16", "--device", "cpu"
    )
    assert "no weights 'none.safetensors'" in fail(
        tmp_path / "e", *SMALL, "--set", "distillation.teacher=none.safetensors"
    )
    # A recipe that cannot run leaves no folder behind.
    assert not any((tmp_path / name).exists() for name in "abcde")
    assert "remove --set" in fail(whole, "--resume", "--set", "seed=2")
    assert "was trained with recipe 'synthetic', not 'camvid'" in fail(whole, "--resume", "--recipe", "camvid")
    assert "was trained with split 'train', not 'trainval'" in fail(whole, "--resume", "--split", "trainval")
    assert "continues by itself" in fail(tmp_path / "f", "--split", "drives", "--resume")
    other = fail(tmp_path / "f", "--split", "drives", "--dataset", "synthetic")
    assert "got --dataset synthetic" in other
    assert "remove --val-split" in fail(tmp_path / "f", "--split", "drives", "--val-split", "test")
    assert "holds a run: --split drives makes a folder of runs" in fail(whole, "--split", "drives")
    (whole / "checkpoint.pt").write_bytes(b"cut short")
    assert "checkpoint.pt is not a complete checkpoint" in fail(whole, "--resume")


def test_second_process_leaves_a_running_run_unchanged(small_camvid, tmp_path, fail):
    """The result is the same before and after the first record of the running process."""
    run = RunFolder(tmp_path / "run")
    facts = {"dataset": "camvid", "split": "train", "val_split": "val"}
    run.create(load_recipe("synthetic", ["augmentation.crop_size=[64, 64]", "input_size=[72, 96]"]), facts)
    before = [path.read_bytes() for path in (run.recipe, run.path / "run.json")]
    with run.lock():
        assert "another process trains in" in fail(run.path, *SMALL, "--set", "seed=9")
        run.record(iteration=10, loss=1.0)
        assert "another process trains in" in fail(run.path, "--resume")
    assert [path.read_bytes() for path in (run.recipe, run.path / "run.json")] == before
    assert [record["iteration"] for record in records(run.path)] == [10]


LONG = ("--set", "epochs=40", "--set", "validate_epochs=40")


def test_diverging_run_stops_with_a_reason(small_camvid, tmp_path):
    status, _, errors = train(small_camvid, tmp_path / "wild", *SMALL, "--set", "optimizer.lr=1e30", *LONG)
    assert status == 1
    assert "step skipped" in errors
    last = errors.strip().splitlines()[-1]
    assert "not finite 10 times in a row, at iteration 11: start a new run" in last
    assert "with a lower optimizer.lr, clip_norm, or precision fp32" in last
