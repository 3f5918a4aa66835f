"""First frame and memory: programs of their own."""

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
def test_a_start(random_weights, backend, one_start):
    figures = measure_first_frame(random_weights, backend, "fp32", (64, 96), batch=2, frame=(120, 160), threads=1)
    assert set(figures) == {"first_frame_s", "start_cpu_s", "peak_mb"}
    # PyTorch alone takes more than 50 MB and a tenth of a second of processor time.
    assert 0.1 < figures["start_cpu_s"] and 0.1 < figures["first_frame_s"]
    assert 50 < figures["peak_mb"] < 2000


def test_the_second_start_is_told(monkeypatch):
    """The first fills the caches."""
    asked, starts = [], iter([{"peak_mb": 9.0}, {"peak_mb": 5.0}])
    monkeypatch.setattr(first_frame, "_start", lambda request: asked.append(request) or next(starts))
    assert measure_first_frame("w", "torch", "fp32", (64, 96)) == {"peak_mb": 5.0}
    assert asked[0] == asked[1] and asked[0]["frame"] == (64, 96) and asked[0]["batch"] == 1


def test_a_program_that_fails(tmp_path):
    with pytest.raises(BackendError, match="a program of its own fails: no weights '.*none.safetensors'"):
        measure_first_frame(tmp_path / "none.safetensors", "torch", "fp32", (64, 96))


def test_the_peak_is_the_programs_own():
    """Not its parent's, which a process begins with by some accounts; and not what it has at the end."""
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
    assert ballast.all() and before < 100e6 and after - before == pytest.approx(80e6, rel=0.1)


def test_columns_of_a_benchmark(one_start):
    """A network with random weights is handed on; what cannot be started is told."""
    candidates = [Candidate("dabnet", "torch", "fp32", (64, 96))]
    steps = []
    figures = benchmark_inference(
        candidates, rounds=1, warmup=1, threads=1, device="cpu", memory=True, progress=lambda *step: steps.append(step)
    )
    [row] = figures["rows"]
    assert row["peak_mb"] > 50 and row["first_frame_s"] > 0.1 and not figures["failures"]
    assert steps[-1] == ("starting", 1, 1)
