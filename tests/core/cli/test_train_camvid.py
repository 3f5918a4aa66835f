"""The campaign behind the CamVid weights: its plan, its table, and the whole of it on a tiny budget, killed between."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from lsabinet_core.cli import train_camvid
from lsabinet_core.data.synthetic import SyntheticDataset
from lsabinet_core.models.weights import read_metadata
from lsabinet_core.training.campaign import RunRecord

ROOT = Path(__file__).resolve().parents[3]
TINY = (
    "augmentation.crop_size=[64,64] augmentation.scales=[1.0] batch_size=2 epochs=2 validate_epochs=1 "
    "input_size=[72,96] compile=false precision=fp32 schedule.warmup_iterations=1"
)


@pytest.fixture
def camvid(tmp_path):
    """Four small rendered scenes, two to train on, in CamVid's layout."""
    root = tmp_path / "camvid"
    for split in ("train", "val"):
        lines = []
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for index in range(2):
            scene = SyntheticDataset(split, size=(72, 96)).sample(index)
            cv2.imwrite(str(root / split / f"{index}.png"), scene.image)
            label = np.where(scene.label == 255, 11, scene.label).astype(np.uint8)
            cv2.imwrite(str(root / f"{split}annot" / f"{index}.png"), label)
            lines.append(f"/SegNet/CamVid/{split}/{index}.png /SegNet/CamVid/{split}annot/{index}.png\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def start(root: Path, out: Path, seconds: int, **variables: str) -> subprocess.Popen:
    settings = {"PYTHON": sys.executable, "SETTINGS": TINY, "SEEDS": "1", "DEVICE": "cpu", "WORKERS": "0"}
    return subprocess.Popen(
        ["bash", str(ROOT / "scripts/train_camvid_gpu.sh"), str(root), str(out), str(seconds)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **settings, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def rows(output: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in output.splitlines() if line.startswith(("lsabinet_", "dabnet_"))}


def test_the_whole_campaign_in_slices_with_a_kill_between(camvid, tmp_path):
    out = tmp_path / "out"
    # A slice that is over before anything can start.
    process = start(camvid, out, 1, SLICES="1")
    output, errors = process.communicate(timeout=300)
    # One second is also what `timeout` allows, which may be faster than the program.
    assert process.returncode == 75, errors

    process = start(camvid, out, 1000)
    deadline = time.monotonic() + 500
    while not (out / "lsabinet_seed1" / "checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "lsabinet_trainval" / "summary.json").exists()

    process = start(camvid, out, 1000)
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    table = rows(output)
    assert list(table) == ["lsabinet_seed1", "dabnet_seed1", "lsabinet_trainval"]
    for name, images in (("lsabinet_seed1", 2), ("dabnet_seed1", 2), ("lsabinet_trainval", 4)):
        iterations = 2 * images // 2
        assert table[name][2:4] == ["finished", f"{iterations}/{iterations}"]
        weights = read_metadata(out / name / "last.safetensors")
        assert weights.architecture == name.split("_")[0] and weights.training["images"] == images
    assert table["lsabinet_trainval"][4] == "seen"
    assert "lsabinet over dabnet: " in output and "mean of 1 finished runs" in output
    # What ships has learned from val: its figure is the other run's.
    facts = [read_metadata(out / name / "ema.safetensors").training for name in ("lsabinet_seed1", "lsabinet_trainval")]
    assert "val_miou" not in facts[1] and facts[1]["seen_miou"] >= 0
    shipped = read_metadata(out / "lsabinet_camvid.safetensors")
    assert shipped.dataset == "camvid trainval"
    assert shipped.training["val_miou"] == facts[0]["val_miou"]
    assert shipped.training["val_miou_of"] == "one run by the same recipe on camvid train alone"


def test_what_the_script_says_of_wrong_arguments(camvid, tmp_path):
    for arguments in ([], [str(camvid)], [str(camvid), str(tmp_path), "0"], [str(camvid), str(tmp_path), "9m"]):
        result = subprocess.run(
            ["bash", str(ROOT / "scripts/train_camvid_gpu.sh"), *arguments], capture_output=True, text=True
        )
        assert result.returncode == 2 and result.stderr.startswith("usage: ")


def test_the_plan():
    runs = train_camvid.plan("camvid", ["batch_size=16", "model_options.svfm=false"], [4, 5])
    assert [(run.name, run.recipe.model, run.recipe.seed, run.split, run.val_split) for run in runs] == [
        ("lsabinet_seed4", "lsabinet", 4, "train", "val"),
        ("dabnet_seed4", "dabnet", 4, "train", "val"),
        ("lsabinet_trainval", "lsabinet", 4, "trainval", "val"),
        ("lsabinet_seed5", "lsabinet", 5, "train", "val"),
        ("dabnet_seed5", "dabnet", 5, "train", "val"),
    ]
    settings = [run.recipe.model_dump(exclude={"model", "model_options", "seed"}) for run in runs]
    assert all(setting == settings[0] for setting in settings) and settings[0]["batch_size"] == 16
    assert runs[1].recipe.model_options == {}


def test_the_table_by_hand():
    runs = train_camvid.plan("camvid", [], [1, 2])
    figures = {"images_per_s": 312.34, "seconds": 185.0, "iterations": 900, "total_iterations": 900}
    records = {
        "lsabinet_seed1": RunRecord("finished", val_miou=0.75, **figures),
        "dabnet_seed1": RunRecord("finished", val_miou=0.72, **figures),
        "lsabinet_seed2": RunRecord("finished", val_miou=0.77, **figures),
        "dabnet_seed2": RunRecord("unfinished", 30, val_miou=0.1),
        "lsabinet_trainval": RunRecord("waiting"),
    }
    output = train_camvid.report(runs, records)
    table = rows(output)
    assert table["lsabinet_seed1"] == ["lsabinet_seed1", "train", "finished", "900/900", "75.00", "312.3", "3:05"]
    assert table["dabnet_seed2"] == ["dabnet_seed2", "train", "unfinished", "30/?", "10.00", "-", "-"]
    assert table["lsabinet_trainval"] == ["lsabinet_trainval", "trainval", "waiting", "-", "seen", "-", "-"]
    assert "lsabinet: val mIoU 76.00 +- 1.41 %, mean of 2 finished" in output
    assert "dabnet: val mIoU 72.00 %, mean of 1 finished" in output
    assert "lsabinet over dabnet: +4.00 points" in output


def test_the_slice_ends_without_a_checkpoint_too(camvid, tmp_path, monkeypatch, capsys):
    asked = []

    def hang(planned, *_args, **_options):
        asked.append(planned.name)
        assert not threading.Event().wait(120), "nothing ended the slice"

    monkeypatch.setattr("lsabinet_core.training.campaign.carry_out", hang)
    started = time.monotonic()
    handler = signal.getsignal(signal.SIGALRM)
    assert train_camvid.main([str(camvid), str(tmp_path), "--seconds", "1", "--device", "cpu"]) == 75
    assert time.monotonic() - started < 100
    assert len(asked) <= 1
    assert [row[2] for row in rows(capsys.readouterr().out).values()] == ["waiting"] * 7
    assert signal.getsignal(signal.SIGALRM) == handler and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_ctrl_c_leaves_the_table(camvid, tmp_path, monkeypatch, capsys):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lsabinet_core.training.campaign.carry_out", interrupted)
    assert train_camvid.main([str(camvid), str(tmp_path), "--device", "cpu"]) == 130
    output, errors = capsys.readouterr()
    assert len(rows(output)) == 7 and "interrupted" in errors


def test_errors_are_one_line(tmp_path, capsys):
    assert train_camvid.main([str(tmp_path), str(tmp_path / "out"), "--device", "cpu"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lsabinet: error: ") and "train.txt" in line
