"""The node segments with PyTorch at once, while another process chooses and builds the engine, and then takes it."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from node_frames import random_frame
from node_harness import UNLIMITED, Client, NodeProcess

from lsabinet_core.inference import Segmenter
from lsabinet_ros import switching
from lsabinet_ros.build_engines import NICENESS, BuildProcess, BuildRequest
from lsabinet_ros.switching import SwitchingSegmenter

DEADLINE_S = 240
SIZE = (72, 100)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty engine cache."""
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "engines"))
    return tmp_path / "engines"


@pytest.fixture
def request_for(weights_file):
    def make(*batches, **options) -> BuildRequest:
        defaults = {"device": "cpu", "precision": "auto", "backend": "auto", "input_size": None, "threads": 1}
        return BuildRequest(str(weights_file), {**defaults, **options}, batches)

    return make


def choices(cache: Path) -> list[Path]:
    return list((cache / "choices").glob("*.json"))


def wait_for(condition, what: str):
    end = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {DEADLINE_S} s"
        time.sleep(0.05)
    return value


def niceness_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_frames_do_not_wait_for_the_engine(cache, request_for, weights_file):
    frame = random_frame(1, SIZE)
    with Segmenter.from_pretrained(weights_file, device="cpu", backend="torch", threads=1) as plain:
        expected = plain.segment(frame).mask
    segmenter = SwitchingSegmenter(request_for((*SIZE, 1)))
    try:
        described = segmenter.describe()
        assert (described["backend"], described["engine_state"]) == ("torch", "building")
        assert choices(cache) == []
        process = segmenter._process or wait_for(lambda: segmenter._process, "process")
        assert niceness_of(process._process.pid) >= niceness_of(0)
        assert (segmenter.segment(frame).mask == expected).mean() > 0.999
        # A camera of another size appears meanwhile.
        segmenter.warm_up((64, 128), frames=1)
        wait_for(lambda: segmenter.describe()["engine_state"] == "ready", "engine")
        assert len(choices(cache)) == 1
        for size in (SIZE, (64, 128)):
            assert segmenter.segment(random_frame(2, size)).mask.shape == size
            assert segmenter._segmenter.is_built(size)
        assert not segmenter._segmenter.undecided
        assert (segmenter.segment(frame).mask == expected).mean() > 0.99
    finally:
        segmenter.close()

    # The next start finds everything.
    again = SwitchingSegmenter(request_for((*SIZE, 1)))
    try:
        assert again.describe()["engine_state"] == "ready"
        assert not any(thread.name == "engine_builder" for thread in threading.enumerate())
        assert again.segment(frame).mask.shape == SIZE
    finally:
        again.close()


def test_the_process_has_a_lower_priority_and_ends_with_the_segmenter(cache, request_for):
    segmenter = SwitchingSegmenter(request_for((*SIZE, 1)))
    process = wait_for(lambda: segmenter._process, "process")._process
    expected = min(19, niceness_of(0) + NICENESS)
    wait_for(lambda: process.poll() is not None or niceness_of(process.pid) == expected, "lower priority")
    assert process.poll() is None
    segmenter.close()
    wait_for(lambda: process.poll() is not None, "end of the process")
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not any(t.name == "engine_builder" for t in threading.enumerate()), "end of the thread")


class FailingProcess:
    def __init__(self, request):
        pass

    def wait(self) -> str:
        return "no space left"

    def end(self) -> None:
        pass


def test_without_an_engine_pytorch_goes_on(cache, request_for, monkeypatch, caplog):
    monkeypatch.setattr(switching, "BuildProcess", FailingProcess)
    segmenter = SwitchingSegmenter(request_for((*SIZE, 1)))
    try:
        wait_for(lambda: segmenter.describe()["engine_state"] == "plain", "end of the build")
        assert [record for record in caplog.records if "no space left" in record.getMessage()]
        for size in (SIZE, (64, 128)):
            segmenter.warm_up(size, frames=1)
            assert segmenter.segment(random_frame(2, size)).mask.shape == size
        assert segmenter.describe()["engine_state"] == "plain"
    finally:
        segmenter.close()


def test_the_reason_of_a_failed_build_is_one_line(cache, request_for, tmp_path):
    missing = BuildRequest(str(tmp_path / "no.safetensors"), request_for().options)
    problem = BuildProcess(missing).wait()
    assert "no.safetensors" in problem
    assert "\n" not in problem


# The real node


def start_node(weights_file, **parameters) -> NodeProcess:
    size = {"warm_up_height": SIZE[0], "warm_up_width": SIZE[1]}
    return NodeProcess(
        weights=weights_file, device="cpu", threads=1, diagnostics_period_s=0.1, **UNLIMITED, **size, **parameters
    )


def test_the_node_is_active_before_an_engine_is_chosen(ros_domain, cache, weights_file):
    node = start_node(weights_file)
    client = Client(ros_domain)
    try:
        client.bring_up()
        message = client.image(np.ascontiguousarray(random_frame(3, SIZE)))
        assert client.mask_of(message).header == message.header
        assert client.status()["engine_state"] in ("building", "ready")

        def ready():
            client.camera.publish(client.image(random_frame(3, SIZE)))
            client.spin(0.2)
            return client.status()["engine_state"] == "ready"

        client.until(ready, "engine", DEADLINE_S)
        assert len(choices(cache)) == 1
        assert client.mask_of(client.image(random_frame(4, SIZE)))
        assert any("in the background" in line for line in node.lines)
        assert node.end(signal.SIGINT) == 0
        assert "Traceback" not in node.output
    finally:
        client.close()
        if node.process.poll() is None:
            node.kill()


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_build_only_fills_the_cache_and_ends(ros_domain, cache, weights_file, backend):
    node = start_node(weights_file, build_only="true", backend=backend)
    try:
        assert node.process.wait(DEADLINE_S) == 0, node.output
    finally:
        if node.process.poll() is None:
            node.kill()
    assert node.end() == 0
    assert "Traceback" not in node.output
    with Segmenter.from_pretrained(weights_file, device="cpu", backend=backend, threads=1, compare=False) as segmenter:
        assert not segmenter.undecided
        assert segmenter.is_built(SIZE)


def test_build_only_that_fails_has_a_status_and_a_reason(ros_domain, cache, tmp_path):
    node = start_node(tmp_path / "no.safetensors", build_only="true")
    assert node.process.wait(DEADLINE_S) == 1
    node.end()
    (line,) = [line for line in node.lines if line.startswith("[ERROR]")]
    assert "no.safetensors" in line
