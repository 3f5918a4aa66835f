"""Ctrl-C while an engine is being built, which nothing can interrupt: the node's process ends at once all the same."""

import signal
import time

import numpy as np
import pytest
from node_harness import ACTIVE, CONFIGURE, UNLIMITED, Client, NodeProcess

from lsabinet_core.inference.preprocess import network_size

END_WITHIN_S = 3.0
"""``ros2 launch`` sends SIGTERM 5 s after SIGINT."""


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "engines"))


@pytest.fixture
def run(ros_domain, empty_cache):
    """Starts a node that has to build its engines, and a client of it."""
    processes, clients = [], []

    def start(**parameters):
        processes.append(NodeProcess(backend="openvino", device="cpu", threads=1, **UNLIMITED, **parameters))
        clients.append(Client(ros_domain))
        return processes[-1], clients[-1]

    yield start
    for client in clients:
        client.close()
    for node in processes:
        if node.process.poll() is None:
            node.kill()


def assert_ends_at_once(node: NodeProcess, number: int) -> None:
    start_s = time.monotonic()
    status = node.end(number)
    elapsed_s = time.monotonic() - start_s
    assert status == 0, node.output
    assert elapsed_s < END_WITHIN_S
    assert "Traceback" not in node.output


@pytest.mark.parametrize("delay_s", [0.0, 0.4, 1.5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_while_configure_builds_an_engine(run, number, delay_s):
    # The shipped network, because it takes seconds to build.
    node, client = run(weights="lsabinet_camvid")
    request = client._change.srv_type.Request()
    request.transition.id = CONFIGURE
    client.until(client._change.service_is_ready, "service")
    lines = len(node.lines)
    client._change.call_async(request)
    client.until(lambda: len(node.lines) > lines, "log line of the build")
    client.spin(delay_s)
    assert_ends_at_once(node, number)


@pytest.fixture
def building(run, weights_file):
    """An active node that builds an engine in the background, for frames of a size that configure did not build."""
    node, client = run(weights=weights_file)
    client.bring_up()
    size = (90, 160)
    height, width = network_size(size, (64, 96))

    def lines():
        client.camera.publish(client.image(np.zeros((*size, 3), np.uint8)))
        return [line for line in node.lines if f"{height}x{width}" in line]

    # One line of the worker's thread and one of the builder's: both reach the node's log.
    client.until(lambda: len(lines()) >= 2, "log lines of the build")
    assert client.state() == ACTIVE
    return node, client


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
def test_signal_while_an_engine_is_built_in_the_background(building, delay_s):
    node, client = building
    client.spin(delay_s)
    assert_ends_at_once(node, signal.SIGINT)
