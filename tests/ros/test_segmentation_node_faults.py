"""Faults that no real network has on demand: the node in this process, over DDS, with a faulty Segmenter."""

import threading
import time

import numpy as np
import pytest
from node_harness import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, INACTIVE, UNCONFIGURED, UNLIMITED, Client, node_here

from lsabinet_core.inference.segmenter import Segmentation, Timings
from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import WeightsMetadata
from lsabinet_ros import node as segmentation_node


class FaultySegmenter:
    """Returns masks of class 3, blocks or raises, as the test requests."""

    label_set = CAMVID
    device = "cpu"
    preferred_batch = 1
    metadata = WeightsMetadata("fake", CAMVID, (90, 120), (0.4,) * 3, (0.3,) * 3)

    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()
        self.may_close = threading.Event()
        self.may_close.set()
        self.error: Exception | None = None
        self.asked: list[bool] = []
        self.warmed: list[tuple[int, int]] = []
        self.closed = False

    def describe(self):
        return {"architecture": "faulty", "device": "cpu", "precision": "fp32", "backend": "none"}

    def warm_up(self, size, frames, wait):
        assert frames == 1
        assert not wait
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
        self.may_close.wait()
        self.closed = True


@pytest.fixture
def segmenter(monkeypatch):
    faulty = FaultySegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: faulty)
    monkeypatch.setattr(segmentation_node, "STOP_TIMEOUT_S", 0.5)
    yield faulty
    faulty.go_on.set()
    faulty.may_close.set()


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
    client.until(lambda: not client.camera.publish(client.image(frame())) and _in_flight(client), "frame in flight")
    levels = []

    def hangs():
        status = client.status()
        levels.append(status["level"])
        return status["level"] == 2 and "limit 100 ms" in status["message"]

    client.until(hangs, "report of the hang")
    assert 1 in levels or levels[0] == 2
    # Services still answer; deactivate does not wait forever and releases the network.
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
    assert status["level"] == 2
    assert "device lost" in status["message"]
    segmenter.error = None
    assert client.mask_of(client.image(frame()))
    assert client.status()["level"] == 0


def test_nothing_is_computed_for_outputs_without_subscribers(client, segmenter):
    client.bring_up()
    assert segmenter.asked
    assert not any(segmenter.asked)
    # Without any output, the network does not run at all; the client still reads /diagnostics.
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
    assert client.status()["level"] == 0


def test_the_engine_is_built_for_the_size_of_the_first_frame(client, segmenter):
    client.bring_up()
    assert client.mask_of(client.image(frame()))
    assert segmenter.warmed == [(64, 96)]
    assert client.change(DEACTIVATE)
    assert client.change(ACTIVATE)
    # Another camera may publish on the same topic now.
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


def test_cleanup_does_not_wait_for_a_network_that_is_slow_to_close(client, segmenter):
    """For example because an engine is being built in the background."""
    client.bring_up()
    segmenter.may_close.clear()
    assert client.change(DEACTIVATE)
    start_s = time.monotonic()
    assert client.change(CLEANUP)
    assert time.monotonic() - start_s < 10
    assert client.state() == UNCONFIGURED
    assert not segmenter.closed
    # The node can be used again in the meantime.
    client.bring_up()
    assert client.mask_of(client.image(frame()))
    segmenter.may_close.set()
    client.until(lambda: segmenter.closed, "release of the first network")


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


def test_frame_in_flight_is_published_before_deactivate_ends(client, segmenter):
    client.bring_up()
    client.masks.clear()
    segmenter.go_on.clear()
    client.until(lambda: not client.camera.publish(client.image(frame())) and _in_flight(client), "frame in flight")
    threading.Timer(0.2, segmenter.go_on.set).start()
    started = time.monotonic()
    assert client.change(DEACTIVATE)
    assert time.monotonic() - started < 30
    client.until(lambda: client.masks, "mask of the frame in flight")
