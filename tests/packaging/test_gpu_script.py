"""The script that checks a GPU's engines, tried out on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def check(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/check_gpu_engines.py", *arguments],
        env={**os.environ, "LSABINET_CACHE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )


def test_engines_that_work_and_one_that_fails(tmp_path):
    options = ("--device", "cpu", "--precision", "fp32", "--size", "64x96", "--rounds", "2", "--models", "enet")
    result = check(tmp_path, *options, "--engines", "torch,cuda-graph")
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert "64x96" in lines[0] and lines[1].startswith("network")
    row = next(line for line in lines if line.startswith("enet  "))
    assert row.split()[:3] == ["enet", "torch", "100.0000"]
    assert any(line.startswith("enet: ") and "MB to move" in line for line in lines)
    assert any(line.startswith("enet, cuda-graph: ") and "needs a CUDA GPU" in line for line in lines)
    assert "Traceback" not in result.stderr
    assert check(tmp_path, *options, "--engines", "torch").returncode == 0


def test_without_a_gpu_it_says_so(tmp_path):
    result = check(tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip() == "lsabinet: error: PyTorch finds no CUDA GPU here"


def test_an_unknown_network_is_one_line(tmp_path):
    result = check(tmp_path, "--device", "cpu", "--models", "nosuch")
    assert result.returncode == 1 and result.stderr.startswith("lsabinet: error: ") and "nosuch" in result.stderr
