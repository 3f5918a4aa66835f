"""First frame and peak memory, measured in separate processes."""

import subprocess
import sys

import numpy as np
import pytest

from lsabinet_core.benchmark import first_frame
from lsabinet_core.benchmark.candidates import Candidate
from lsabinet_core.benchmark.first_frame import measure_first_frame
from lsabinet_core.benchmark.inference import benchmark_inference
from lsabinet_core.errors import BackendError


@pytest.fixture
def one_start(monkeypatch):
    monkeypatch.setattr(first_frame, "STARTS", 1)


@pytest.mark.parametrize("backend", ["eager", "openvino"])
def test_single_start(random_weights, backend, one_start):
    figures = measure_first_frame(random_weights, backend, "fp32", (64, 96), batch=2, frame=(120, 160), threads=1)
    assert set(figures) == {"first_frame_s", "start_cpu_s", "peak_mb"}
    # PyTorch alone takes more than 50 MB and a tenth of a second of processor time.
    assert figures["start_cpu_s"] > 0.1
    assert figures["first_frame_s"] > 0.1
    assert 50 < figures["peak_mb"] < 2000


def test_second_start_is_reported(monkeypatch):
    """Two starts are made with the same request, because the first one fills the caches."""
    asked, starts = [], iter([{"peak_mb": 9.0}, {"peak_mb": 5.0}])
    monkeypatch.setattr(first_frame, "_start", lambda request: asked.append(request) or next(starts))
    assert measure_first_frame("w", "torch", "fp32", (64, 96)) == {"peak_mb": 5.0}
    assert asked[0] == asked[1]
    assert asked[0]["frame"] == (64, 96)
    assert asked[0]["batch"] == 1


def test_failure_of_the_program_is_reported(tmp_path):
    with pytest.raises(BackendError, match=r"the separate process failed: no weights '.*none.safetensors'"):
        measure_first_frame(tmp_path / "none.safetensors", "torch", "fp32", (64, 96))


def test_peak_memory_belongs_to_the_process():
    """The figure is neither the peak of the parent process, with which some counters start, nor the final usage."""
    program = (
        "from lsabinet_core.benchmark.first_frame import peak_bytes\n"
        "before = peak_bytes()\n"
        "filled = bytearray(b'x') * 80_000_000\n"
        "del filled\n"
        "print(before, peak_bytes())"
    )
    ballast = np.ones(200_000_000, np.uint8)
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    before, after = map(int, output.split())
    assert ballast.all()
    assert before < 100e6
    assert after - before == pytest.approx(80e6, rel=0.1)


def test_benchmark_with_memory_option(one_start):
    """Random weights are passed to the process; a failed start is reported."""
    candidates = [Candidate("dabnet", "torch", "fp32", (64, 96))]
    steps = []
    figures = benchmark_inference(
        candidates, rounds=1, warmup=1, threads=1, device="cpu", memory=True, progress=lambda *step: steps.append(step)
    )
    [row] = figures["rows"]
    assert row["peak_mb"] > 50
    assert row["first_frame_s"] > 0.1
    assert not figures["failures"]
    assert steps[-1] == ("starting", 1, 1)
