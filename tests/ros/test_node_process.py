"""The node's process: signals, SIGKILL and restart, start values, QoS overrides, compressed input."""

import re
import signal
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from node_harness import ACTIVATE, CONFIGURE, DEADLINE_S, UNCONFIGURED, Client, NodeProcess
from sensor_msgs.msg import CompressedImage


@pytest.fixture
def run_node(ros_domain, weights_file):
    """Start nodes; those that a failed test leaves behind are killed."""
    started = []

    def run(**parameters):
        defaults = {"weights": weights_file, "backend": "torch", "threads": 1}
        periods = {"diagnostics_period_s": 0.1, "input_timeout_s": 0.0}
        started.append(NodeProcess(**{**defaults, **periods, **parameters}))
        return started[-1]

    yield run
    for node in started:
        if node.process.poll() is None:
            node.kill()


@pytest.fixture
def connect(ros_domain):
    clients = []

    def make(**options):
        clients.append(Client(ros_domain, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def frame(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (72, 100, 3), dtype=np.uint8)


def test_killed_node_can_be_started_again(run_node, connect):
    first = run_node()
    client = connect()
    client.bring_up()
    assert client.mask_of(client.image(frame(0)))
    assert first.kill() == -signal.SIGKILL
    second = run_node()
    operator = connect()
    operator.bring_up()
    # The client that was there before receives the masks of the new node.
    assert client.mask_of(client.image(frame(1)))
    # A terminal and a launch file send the same signal twice.
    assert second.end(signal.SIGINT, times=2) == 0
    assert "Traceback" not in second.output
    assert "Error" not in second.output


def test_signals_until_the_process_has_ended(run_node, connect):
    """A launch file may send the second signal late, while the interpreter is already ending."""
    node = run_node()
    connect().state()
    deadline = time.monotonic() + DEADLINE_S
    while node.process.poll() is None and time.monotonic() < deadline:
        node.process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert node.end() == 0
    assert "Traceback" not in node.output


def test_qos_of_every_topic_can_be_overridden(run_node, connect):
    overrides = {
        "/segmentation/input/image.subscription": "reliable",
        "/segmentation/output/overlay.publisher": "best_effort",
        "/segmentation/debug/latency.publisher": "best_effort",
        "/diagnostics.publisher": "best_effort",
    }
    run_node(**{f"qos_overrides.{topic}.reliability": value for topic, value in overrides.items()})
    client = connect()
    assert client.change(CONFIGURE)
    assert client.change(ACTIVATE)

    def reliabilities() -> dict[str, str]:
        found = {}
        for key in overrides:
            topic, kind = key.rsplit(".", 1)
            get = getattr(client.node, f"get_{kind}s_info_by_topic")
            for endpoint in get(topic):
                if endpoint.node_name == "segmentation":
                    found[key] = endpoint.qos_profile.reliability.name.lower()
        return found

    client.until(lambda: reliabilities() == overrides, "overridden QoS")


def test_bad_start_values_fail_configure_and_can_be_corrected(run_node, connect):
    node = run_node(precision="fp7", threads=-3, max_image_age_ms=500, overlay_alpha="much")
    client = connect()
    assert client.change(CONFIGURE) is False
    assert client.state() == UNCONFIGURED
    message = client.status()["message"]
    assert all(text in message for text in ("precision", "fp7", "threads", "-3", "overlay_alpha", "much"))
    # An integer is accepted for a double.
    assert "max_image_age_ms" not in message
    assert client.set(precision="auto", threads=1) == []
    assert client.change(CONFIGURE) is False
    assert client.set(overlay_alpha=0.3) == []
    assert client.change(CONFIGURE) is True
    assert client.change(ACTIVATE) is True
    assert node.end(signal.SIGINT) == 0
    assert "Traceback" not in node.output


def test_sigint_during_configure_ends_the_node(run_node, connect):
    node = run_node()
    client = connect()
    request = client._change.srv_type.Request()
    request.transition.id = CONFIGURE
    client.until(client._change.service_is_ready, "service")
    client._change.call_async(request)
    client.spin(0.2)
    assert node.end(signal.SIGINT) == 0
    assert "Traceback" not in node.output


def test_compressed_input_good_and_bad(run_node, connect):
    node = run_node(compressed=True)
    client = connect(compressed=True)
    client.bring_up()

    def message(data: bytes, kind: str = "jpeg") -> CompressedImage:
        image = client.image(frame(0))
        compressed = CompressedImage(header=image.header, format=kind)
        compressed.data.frombytes(data)
        return compressed

    jpeg = cv2.imencode(".jpg", frame(2))[1].tobytes()
    png = cv2.imencode(".png", frame(3))[1].tobytes()
    mask = client.mask_of(message(jpeg))
    memory_mib = peak_memory_mib(node.process.pid)
    assert (mask.height, mask.width, mask.step, mask.encoding) == (72, 100, 100, "mono8")
    cases = [(b"", "jpeg"), (b"not an image" * 9, "jpeg"), (png[:40], "png"), (png, "16UC1; compressedDepth")]
    grey = cv2.imencode(".png", frame(3)[..., 0])[1].tobytes()
    cases += [(grey, "yuv422; png compressed "), (png_of_400_megapixels(), "png")]
    for bad in (message(*case) for case in cases):
        before = client.frames()["rejected"]

        def rejected():
            client.camera.publish(bad)
            return client.frames()["rejected"] > before

        client.until(rejected, "rejection")
        good = message(png, "bgr8; png compressed bgr8")
        assert client.mask_of(good).header == good.header
    # The large image would have needed at least 400 MB.
    assert peak_memory_mib(node.process.pid) < memory_mib + 150

    mosaic = np.tile(np.array([[200, 120], [120, 40]], np.uint8), (36, 50))
    bayer = message(cv2.imencode(".png", mosaic)[1].tobytes(), "bayer_rggb8; png compressed ")
    colour = message(cv2.imencode(".png", np.full((72, 100, 3), (40, 120, 200), np.uint8))[1].tobytes(), "png")
    different = np.array(client.mask_of(bayer).data) != np.array(client.mask_of(colour).data)
    # Only the border of the interpolated picture differs.
    assert different.mean() < 0.05
    assert node.end(signal.SIGTERM) == 0
    assert "Traceback" not in node.output


def png_of_400_megapixels() -> bytes:
    """20000x20000 pixels of one bit, all black."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(20_000 * 2501))) + chunk(b"IEND", b"")


def peak_memory_mib(pid: int) -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
