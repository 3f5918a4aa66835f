"""The scripts for a GPU, run on the CPU: the check of the engines and the training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from lsabinet_core.data.synthetic import SyntheticDataset
from lsabinet_core.models.weights import read_metadata

ROOT = Path(__file__).resolve().parents[2]


def check(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/check_gpu_engines.py", *arguments],
        env={**os.environ, "LSABINET_CACHE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )


def test_working_and_failing_engines_are_reported(tmp_path):
    options = ("--device", "cpu", "--precision", "fp32", "--size", "64x96", "--rounds", "2", "--models", "enet")
    result = check(tmp_path, *options, "--engines", "torch,cuda-graph")
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert "64x96" in lines[0]
    assert lines[1].startswith("network")
    row = next(line for line in lines if line.startswith("enet  "))
    assert row.split()[:3] == ["enet", "torch", "100.0000"]
    assert any(line.startswith("enet: ") and "MB to move" in line for line in lines)
    assert any(line.startswith("enet, cuda-graph: ") and "needs a CUDA GPU" in line for line in lines)
    assert "Traceback" not in result.stderr
    assert check(tmp_path, *options, "--engines", "torch").returncode == 0


def test_missing_gpu_is_reported(tmp_path):
    result = check(tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip() == "lsabinet: error: PyTorch finds no CUDA GPU here"


def test_unknown_network_is_a_one_line_error(tmp_path):
    result = check(tmp_path, "--device", "cpu", "--models", "nosuch")
    assert result.returncode == 1
    assert result.stderr.startswith("lsabinet: error: ")
    assert "nosuch" in result.stderr


TINY = (
    "model=espnet augmentation.crop_size=[64,64] augmentation.scales=[1.0] batch_size=2 validate_epochs=1 "
    "input_size=[72,96] compile=false precision=fp32 schedule.warmup_iterations=1"
)


@pytest.fixture
def camvid(tmp_path):
    """Four small scenes in CamVid's layout, two to train on."""
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


def start(camvid: Path, out: Path, **variables: str) -> subprocess.Popen:
    settings = {"PYTHON": sys.executable, "DEVICE": "cpu", "SCENES": "2", "VAL_SCENES": "1", "OMP_NUM_THREADS": "1"}
    recipes = {"PRETRAIN": f"{TINY} epochs=2", "TUNE": f"{TINY} epochs=20"}
    return subprocess.Popen(
        ["bash", str(ROOT / "scripts/train_camvid_gpu.sh"), str(camvid), str(out)],
        env={**os.environ, **settings, **recipes, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_the_training_continues_where_it_was_interrupted(camvid, tmp_path):
    out = tmp_path / "out"
    process = start(camvid, out, TIME="1")
    output, _ = process.communicate(timeout=500)
    # The time limit of one second passes while the scenes are rendered.
    assert process.returncode == 75, output
    scenes = {path: path.stat().st_mtime_ns for path in (out / "scenes").glob("*/*.png")}
    assert len(scenes) == 3

    process = start(camvid, out)
    deadline = time.monotonic() + 400
    while not (out / "camvid" / "checkpoint.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    pretrained = (out / "pretrained" / "summary.json").stat().st_mtime_ns
    assert not (out / "val.json").exists()

    process = start(camvid, out)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert {path: path.stat().st_mtime_ns for path in scenes} == scenes
    assert (out / "pretrained" / "summary.json").stat().st_mtime_ns == pretrained
    summary = json.loads((out / "camvid" / "summary.json").read_text())
    assert summary["iterations"] == 20
    metadata = read_metadata(out / "camvid" / summary["weights"])
    assert metadata.dataset == "camvid train"
    assert metadata.training["recipe"]["initial_weights"].startswith(str(out / "pretrained"))
    assert json.loads((out / "val.json").read_text())["miou"] == pytest.approx(summary["val_miou"], abs=0.02)
