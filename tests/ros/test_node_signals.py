"""Ctrl-C while an engine is being built: the node ends at once, although a build cannot be interrupted."""

import signal
import time

import numpy as np
import pytest
from node_harness import ACTIVE, CONFIGURE, UNLIMITED, Client, NodeProcess

from lsabinet_core.inference.preprocess import network_size

END_WITHIN_S = 8.0
"""``ros2 launch`` sends SIGTERM 5 s after SIGINT, and SIGKILL another 5 s later."""
BUILD_S = 60.0
"""How long the slow builds take: much longer than the node may take to end."""

# The node's program with builds that take ``BUILD_S``, unless ``is_quick(shape)``.
SLOW_NODE = """
import sys, time
from lsabinet_core.inference.backends.openvino_ import OpenVINOBackend
compile_for, is_quick = OpenVINOBackend._compile, lambda shape: {quick}
def compile_slowly(backend, shape, *more):
    if not is_quick(shape):
        print("compiling slowly", flush=True)
        time.sleep({seconds})
    return compile_for(backend, shape, *more)
OpenVINOBackend._compile = compile_slowly
from lsabinet_ros.segmentation_node import main
sys.exit(main())
"""


@pytest.fixture
def run(ros_domain, weights_file, tmp_path, monkeypatch):
    """Starts a node with an empty engine cache, whose builds are slow, and its client.

    Its first argument is the condition on ``shape`` (N, H, W) under which a build is quick.
    """
    monkeypatch.setenv("LSABINET_CACHE_DIR", str(tmp_path / "engines"))
    processes, clients = [], []

    def start(quick, **parameters):
        program = ("-c", SLOW_NODE.format(quick=quick, seconds=BUILD_S))
        values = {"backend": "openvino", "device": "cpu", "threads": 1, "weights": weights_file, **parameters}
        processes.append(NodeProcess(program=program, **UNLIMITED, **values))
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


def start_configure(client: Client) -> None:
    request = client._change.srv_type.Request()
    request.transition.id = CONFIGURE
    client.until(client._change.service_is_ready, "service")
    client._change.call_async(request)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_while_configure_builds_an_engine(run, number):
    node, client = run("False")
    start_configure(client)
    client.until(lambda: "compiling slowly" in node.output, "slow build")
    assert_ends_at_once(node, number)


@pytest.mark.parametrize("delay_s", [0.0, 1.0])
def test_signal_while_configure_builds_the_shipped_network(run, delay_s):
    """A real build, whose native code holds Python's global lock at times."""
    node, client = run("True", weights="lsabinet_camvid")
    lines = len(node.lines)
    start_configure(client)
    client.until(lambda: len(node.lines) > lines, "log line of the build")
    client.spin(delay_s)
    assert_ends_at_once(node, signal.SIGINT)


@pytest.fixture
def building(run):
    """An active node that builds an engine in the background, for frames of a size that configure did not build."""
    node, client = run("shape[1:] == (64, 96)")
    client.bring_up()
    size = (90, 160)
    height, width = network_size(size, (64, 96))

    def lines():
        client.camera.publish(client.image(np.zeros((*size, 3), np.uint8)))
        return [line for line in node.lines if f"{height}x{width}" in line]

    client.until(lambda: lines() and "compiling slowly" in node.output, "slow build")
    assert client.state() == ACTIVE
    return node, client


def test_signal_while_an_engine_is_built_in_the_background(building):
    node, _ = building
    assert_ends_at_once(node, signal.SIGINT)
