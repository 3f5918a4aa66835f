"""``lsabinet train``: what it shows, and the leave-one-drive-out split."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lsabinet_core.cli import main
from lsabinet_core.cli.training_progress import TrainingProgress
from lsabinet_core.training import distributed, drives


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


def test_split_drives(root, monkeypatch, capsys):
    calls = []

    def train_drives(recipe, dataset, folder, out, *, device, workers, observer):
        calls.append((recipe.seed, dataset, folder, out, device.type, workers))
        observer({"event": "run", "name": "0001TP", "done": 0, "total": 2})
        return {"val_miou": 0.4321, "drives": {"0001TP": {}, "0016E5": {}}}

    monkeypatch.setattr(drives, "train_drives", train_drives)
    out = root / "out"
    arguments = ["train", "--split", "drives", "--root", str(root), "--out", str(out), "--device", "cpu"]
    assert main([*arguments, "--set", "seed=5", "--workers", "0"]) == 0
    assert calls == [(5, "camvid", root, out, "cpu", 0)]
    shown = capsys.readouterr()
    assert "val mIoU 43.21 % on the drive left out, the mean of 2" in shown.out and "drives.json" in shown.out
    assert "run 0001TP (1 of 2)" in shown.err

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert main(arguments) == 1
    assert "trains in one process" in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_shows_every_event(terminal, monkeypatch, capsys):
    import sys

    monkeypatch.setenv("COLUMNS", "200")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    step = {"event": "step", "total": 20, "epoch": 1, "loss": 1.25, "lr": 1e-3, "images_per_s": 33.3}
    with TrainingProgress(sys.stderr) as progress:
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
    assert "loss 1.2500" in shown and "33.3 images/s" in shown
    assert "ETA" in shown


def test_a_narrow_terminal_cuts_the_text_and_no_figure(monkeypatch, capsys):
    import sys

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    step = {"event": "step", "epoch": 400, "loss": 1.25, "lr": 1e-3, "images_per_s": 1333.3}
    with TrainingProgress(sys.stderr) as progress:
        progress({"event": "validation", "iteration": 1, "epoch": 1, "miou": float("nan"), "per_class_iou": {}})
        progress({**step, "iteration": 161_000, "total": 161_500})
    shown = capsys.readouterr().err
    assert "val mIoU undefined" in shown
    [*_, last] = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines() if "loss" in line]
    assert "161000/161500" in last and "0:00:00 ETA" in last and "loss 1.2500" in last and last.endswith("…")


def test_a_resumed_runs_bar_goes_by_its_own_pace(monkeypatch):
    import sys

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    progress, now = TrainingProgress(sys.stderr), 100.0
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
    # 10 iterations in two seconds, 480 to go.
    assert task.completed == 520 and task.time_remaining == 96


@pytest.mark.parametrize("option", ["--threads", "--workers"])
def test_negative_counts_are_refused(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--out", str(tmp_path / "out"), option, "-1"])
    assert stop.value.code == 2 and f"argument {option}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
