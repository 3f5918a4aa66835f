"""``lsabinet train``: leave-one-sequence-out, the progress display and invalid arguments."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lsabinet_core.cli import main
from lsabinet_core.cli.progress import TrainingProgress
from lsabinet_core.training import distributed, sweep


@pytest.fixture
def root(tmp_path) -> Path:
    """CamVid's layout with one image in each of train and val."""
    for split, name in (("train", "0001TP_1"), ("val", "0016E5_1")):
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.zeros((8, 8, 3) if folder == split else (8, 8)))
        lines = f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n"
        (tmp_path / f"{split}.txt").write_text(lines)
    return tmp_path


def test_leave_one_sequence_out(root, monkeypatch, capsys):
    planned = []

    def train_runs(runs, folder, open_split, *, device, workers, observer, deadline, failed):
        planned.extend((run.name, run.recipe.seed, run.split, run.val_split) for run in runs)
        assert (folder, device.type, workers, deadline, failed) == (out, "cpu", 0, None, None)
        assert [len(open_split(split)) for split in (runs[0].split, runs[0].val_split)] == [1, 1]
        observer({"event": "run", "name": "0001TP", "done": 0, "total": 2})
        yield runs[0]

    monkeypatch.setattr(sweep, "train_runs", train_runs)
    out = root / "out"
    arguments = ["train", "--split", "drives", "--root", str(root), "--out", str(out), "--device", "cpu"]
    assert main([*arguments, "--set", "seed=5", "--workers", "0"]) == 0
    assert planned == [(name, 5, f"drives:{name}:train", f"drives:{name}:val") for name in ("0001TP", "0016E5")]
    shown = capsys.readouterr()
    assert "run 0001TP (1 of 2)" in shown.err
    assert [line.split()[0] for line in shown.out.splitlines()[:3]] == ["sequence", "0001TP", "0016E5"]
    assert json.loads((out / "table.json").read_text())["complete"] is False

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert main(arguments) == 1
    assert "trains in one process" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_shows_every_event(terminal, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    step = {"event": "step", "total": 20, "epoch": 1, "loss": 1.25, "lr": 1e-3, "images_per_s": 33.3}
    with TrainingProgress() as progress:
        for run in (0, 1):
            progress({"event": "run", "name": f"000{run}", "done": run, "total": 2})
            progress({"event": "loading", "done": 4, "total": 4})
            progress({"event": "compiling"})
            progress({**step, "iteration": 10})
            progress({"event": "validation", "iteration": 10, "epoch": 1, "miou": 0.5, "per_class_iou": {}})
            progress({"event": "skipped", "iteration": 12})
            progress({"event": "warning", "message": "no compiler in [/tmp/x.py]"})
            progress({**step, "iteration": 20})
    shown = capsys.readouterr().err
    warning = "warning: no compiler in [/tmp/x.py]"
    for part in ("run 0001 (2 of 2)", "val mIoU 50.00 %", "iteration 12: ", "step skipped", "compiling", warning):
        assert part in shown
    assert "loss 1.2500" in shown
    assert "33.3 images/s" in shown
    assert "ETA" in shown


def test_narrow_terminal_truncates_the_text_but_no_numbers(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    step = {"event": "step", "epoch": 400, "loss": 1.25, "lr": 1e-3, "images_per_s": 1333.3}
    with TrainingProgress() as progress:
        progress({"event": "validation", "iteration": 1, "epoch": 1, "miou": float("nan"), "per_class_iou": {}})
        progress({**step, "iteration": 161_000, "total": 161_500})
    shown = capsys.readouterr().err
    assert "val mIoU undefined" in shown
    [*_, last] = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines() if "loss" in line]
    assert "161000/161500" in last
    assert "0:00:00 ETA" in last
    assert "loss 1.2500" in last
    assert last.endswith("…")


def test_remaining_time_of_a_resumed_run_ignores_earlier_iterations(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    progress, now = TrainingProgress(), 100.0
    progress._bar.get_time = lambda: now
    for iteration in (500, 510, 520):
        progress(
            {
                **{"event": "step", "iteration": iteration, "total": 1000, "epoch": 1},
                **{"loss": 1.25, "lr": 1e-3, "images_per_s": 33.3},
            }
        )
        now += 2
    [task] = progress._bar.tasks
    # Ten iterations take two seconds, and 480 remain.
    assert task.completed == 520
    assert task.time_remaining == 96


@pytest.mark.parametrize("option", ["--threads", "--workers"])
def test_negative_counts_are_rejected(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--out", str(tmp_path / "out"), option, "-1"])
    assert stop.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
