"""While configure loads the network, the node goes on answering, and it does not wait longer than allowed."""

import signal
import statistics
import threading
import time

import pytest
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from node_harness import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    INACTIVE,
    UNCONFIGURED,
    UNLIMITED,
    Client,
    NodeProcess,
    node_here,
)
from test_cameras import RecordingSegmenter

from lsabinet_ros import node as segmentation_node

CONFIGURING = State.TRANSITION_STATE_CONFIGURING


@pytest.fixture
def may_load(monkeypatch):
    """An event without which the network is never loaded."""
    event = threading.Event()

    def load(values):
        event.wait()
        return RecordingSegmenter()

    monkeypatch.setattr(segmentation_node, "_load", load)
    yield event
    event.set()


@pytest.fixture
def client(ros_domain, may_load):
    parameters = {**UNLIMITED, "diagnostics_period_s": 0.1}
    with node_here(ros_domain, parameters, before_release=may_load.set) as context:
        client = Client(context)
        client.state()
        yield client
        client.close()


def start_configure(client: Client):
    """Ask the node to configure; returns the future of its answer."""
    client.until(client._change.service_is_ready, "service")
    request = client._change.srv_type.Request()
    request.transition.id = CONFIGURE
    answer = client._change.call_async(request)
    client.until(lambda: client.state() == CONFIGURING, "state configuring")
    return answer


def test_the_node_answers_while_it_configures(client, may_load):
    answer = start_configure(client)
    assert client.status()["state"] == "configuring"
    assert client.set(overlay_alpha=0.25) == []
    (reason,) = client.set(weights="other")
    assert "weights" in reason
    # No other transition is possible now, and none disturbs the one in progress.
    for transition in (CONFIGURE, ACTIVATE, CLEANUP):
        assert client.change(transition) is False
    assert client.state() == CONFIGURING
    assert not answer.done()
    may_load.set()
    assert client.until(answer.done, "answer") is True
    assert answer.result().success
    assert client.state() == INACTIVE
    assert client.status()["state"] == "inactive"


def test_configure_has_a_time_limit(client, may_load):
    assert client.set(configure_timeout_s=0.5) == []
    assert client.change(CONFIGURE) is False
    assert client.state() == UNCONFIGURED
    status = client.status()
    assert status["level"] == 2
    assert "configure_timeout_s" in status["message"]
    may_load.set()
    assert client.set(configure_timeout_s=0.0) == []
    assert client.change(CONFIGURE)
    assert client.status()["level"] == 0


def test_the_state_is_known_while_a_real_engine_is_built(ros_domain, tmp_path, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "engines"))
    node = NodeProcess(weights="lsabinet_camvid", backend="openvino", device="cpu", threads=1, diagnostics_period_s=0.1)
    client = Client(ros_domain)
    try:
        client.state()
        answer = start_configure(client)
        took_s, states = [], []
        while not answer.done():
            asked_s = time.monotonic()
            future = client._get.call_async(GetState.Request())
            client.until(future.done, "state")
            took_s.append(time.monotonic() - asked_s)
            states.append(future.result().current_state.id)
            client.spin(0.05)
        assert answer.result().success
        assert states.count(CONFIGURING) > 5
        assert statistics.median(took_s) < 0.5
        assert node.end(signal.SIGINT) == 0
        assert "Traceback" not in node.output
    finally:
        client.close()
        if node.process.poll() is None:
            node.kill()
