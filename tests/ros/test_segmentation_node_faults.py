"""Faults that no real network has on demand: the node in this process, over real DDS, with a faulty Segmenter."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from node_harness import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, INACTIVE, UNCONFIGURED, UNLIMITED, Client, node_here

from lsabinet_core.inference.segmenter import Segmentation, Timings
from lsabinet_core.labels import CAMVID
from lsabinet_ros import node as segmentation_node


class FaultySegmenter:
    """Answers with class 3, or blocks, or raises, as the test says."""

    label_set = CAMVID
    metadata = SimpleNamespace(architecture="faulty")
    device, precision, backend = "cpu", "fp32", "none"

    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()
        self.error: Exception | None = None
        self.asked: list[bool] = []
        self.warmed: list[tuple[int, int]] = []
        self.closed = False

    def warm_up(self, size, frames, wait):
        assert frames == 1 and not wait
        assert not self.asked or self.warmed
        self.warmed.append(size)

    def segment(self, frame, *, confidence):
        self.asked.append(confidence)
        self.go_on.wait()
        if self.error is not None:
            raise self.error
        mask = np.full(frame.shape[:2], 3, np.uint8)
        return Segmentation(mask, mask if confidence else None, Timings(1.0, 2.0, 3.0))

    def close(self):
        self.closed = True


@pytest.fixture
def segmenter(monkeypatch):
    faulty = FaultySegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: faulty)
    monkeypatch.setattr(segmentation_node, "STOP_TIMEOUT_S", 0.5)
    yield faulty
    faulty.go_on.set()


@pytest.fixture
def client(ros_domain, segmenter):
    parameters = {**UNLIMITED, "diagnostics_period_s": 0.1}
    with node_here(ros_domain, parameters, before_release=segmenter.go_on.set) as context:
        client = Client(context)
        yield client
        client.close()


def frame() -> np.ndarray:
    return np.zeros((64, 96, 3), np.uint8)


def test_watchdog_reports_a_hang_and_the_node_comes_back(client, segmenter):
    client.bring_up()
    assert client.set(max_processing_time_ms=100.0, max_consecutive_slow=5) == []
    segmenter.go_on.clear()
    client.until(lambda: not client.camera.publish(client.image(frame())) and _in_flight(client), "frame in work")
    levels = []

    def hangs():
        status = client.status()
        levels.append(status["level"])
        return status["level"] == 2 and "in work" in status["message"]

    client.until(hangs, "report of the hang")
    assert 1 in levels or levels[0] == 2
    # Services answer in the meantime; deactivate cannot wait for ever and gives the network up.
    assert client.change(DEACTIVATE) is False
    assert client.state() == UNCONFIGURED
    assert not segmenter.closed
    client.masks.clear()
    segmenter.go_on.set()
    client.spin(0.5)
    assert client.masks == []
    client.bring_up()
    assert set(client.mask_of(client.image(frame())).data) == {3}


def _in_flight(client) -> bool:
    return client.status().get("frames_in_flight") == "1"


def test_frames_that_fail_are_counted_and_the_next_is_segmented(client, segmenter):
    client.bring_up()
    segmenter.error = RuntimeError("device\nlost")
    before = client.frames()["failed"]

    def failed():
        client.camera.publish(client.image(frame()))
        return client.frames()["failed"] > before

    client.until(failed, "failure")
    status = client.status()
    assert (status["level"], status["message"]) == (2, "the last frame failed: device lost")
    segmenter.error = None
    assert client.mask_of(client.image(frame()))
    assert client.status()["level"] == 0


def test_nothing_is_computed_for_outputs_without_subscribers(client, segmenter):
    client.bring_up()
    assert segmenter.asked and not any(segmenter.asked)
    # Without any output the network does not run at all; only /diagnostics is still read.
    for subscription in list(client.node.subscriptions):
        if subscription.topic_name.startswith("/segmentation/"):
            client.node.destroy_subscription(subscription)

    def unwanted():
        client.camera.publish(client.image(frame()))
        return client.frames()["unwanted"] >= 1

    client.until(unwanted, "unwanted frame")
    asked = len(segmenter.asked)
    before = client.frames()["unwanted"]
    client.until(lambda: unwanted() and client.frames()["unwanted"] >= before + 3, "more unwanted frames")
    assert len(segmenter.asked) == asked
    assert "subscriber" in client.status()["message"]


def test_the_engine_is_built_for_the_size_of_the_first_frame(client, segmenter):
    client.bring_up()
    assert client.mask_of(client.image(frame()))
    assert segmenter.warmed == [(64, 96)]
    assert client.change(DEACTIVATE)
    assert client.change(ACTIVATE)
    # Another camera may have taken its place.
    assert client.mask_of(client.image(np.zeros((48, 80, 3), np.uint8)))
    assert segmenter.warmed == [(64, 96), (48, 80)]


def test_network_is_closed_at_cleanup_and_the_thread_ends(client, segmenter):
    client.bring_up()
    assert any(thread.name == "segmentation_worker" for thread in threading.enumerate())
    assert client.change(DEACTIVATE)
    assert client.state() == INACTIVE
    assert not segmenter.closed
    assert client.change(CLEANUP)
    assert segmenter.closed
    client.until(
        lambda: not any(thread.name == "segmentation_worker" for thread in threading.enumerate()), "end of the thread"
    )


def test_error_at_activate_releases_everything(client, segmenter, monkeypatch):
    assert client.change(CONFIGURE)

    def fail(*_):
        raise RuntimeError("no topic today")

    with monkeypatch.context() as patch:
        patch.setattr(segmentation_node.Cameras, "start", fail)
        assert client.change(ACTIVATE) is False
    assert client.state() == UNCONFIGURED
    assert segmenter.closed
    client.bring_up()


def test_frame_in_work_is_published_before_deactivate_ends(client, segmenter):
    client.bring_up()
    client.masks.clear()
    segmenter.go_on.clear()
    client.until(lambda: not client.camera.publish(client.image(frame())) and _in_flight(client), "frame in work")
    threading.Timer(0.2, segmenter.go_on.set).start()
    started = time.monotonic()
    assert client.change(DEACTIVATE)
    assert time.monotonic() - started < 30
    client.until(lambda: client.masks, "mask of the frame in work")
