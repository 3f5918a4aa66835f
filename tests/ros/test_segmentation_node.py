"""The node as users run it: in a separate process, driven over DDS."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from node_frames import bad_frames, pixels_of, random_frame
from node_harness import ACTIVATE, ACTIVE, CLEANUP, CONFIGURE, DEACTIVATE, INACTIVE, UNCONFIGURED, Client, NodeProcess
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

STAGES = ("wait", "decode", "preprocess", "inference", "postprocess", "publish")


@pytest.fixture(scope="module")
def node(module_ros_domain, weights_file):
    # No time limits, because a busy machine would exceed them; the test of the limits sets its own.
    limits = {"input_timeout_s": 0.0, "max_processing_time_ms": 0.0, "max_image_age_ms": 0.0}
    process = NodeProcess(weights=weights_file, backend="torch", threads=1, diagnostics_period_s=0.1, **limits)
    yield process
    status = process.end() if process.process.poll() is None else process.process.returncode
    assert status == 0, process.output
    assert "Traceback" not in process.output


@pytest.fixture(scope="module")
def shared_client(module_ros_domain, node):
    client = Client(module_ros_domain)
    yield client
    client.close()


@pytest.fixture
def client(shared_client):
    for messages in (shared_client.masks, shared_client.latencies, shared_client.processing, shared_client.pipeline):
        messages.clear()
    return shared_client


@pytest.fixture
def active(client):
    client.bring_up()
    return client


@pytest.fixture(scope="module")
def segmenter(weights_file):
    from lsabinet_core.inference import Segmenter

    with Segmenter.from_pretrained(weights_file, device="cpu", backend="torch", threads=1) as segmenter:
        yield segmenter


def latency_values(message) -> dict[str, float]:
    (status,) = message.status
    assert status.name == "lsabinet: latency"
    assert status.message == "ok"
    assert status.hardware_id == "cpu"
    return {item.key: float(item.value) for item in status.values}


# Lifecycle


def test_node_starts_unconfigured_and_rejects_an_impossible_transition(client, node):
    assert client.state() == UNCONFIGURED
    assert client.change(ACTIVATE) is False
    assert client.change(DEACTIVATE) is False
    assert client.state() == UNCONFIGURED
    assert client.status()["state"] == "unconfigured"


def test_bad_weights_fail_configure_with_one_line_and_the_node_recovers(client, node, weights_file, tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("not a weights file\n")
    assert client.set(weights=str(text)) == []
    before = len(node.lines)
    assert client.change(CONFIGURE) is False
    assert client.state() == UNCONFIGURED
    status = client.status()
    assert status["level"] == 2
    assert str(text) in status["message"]
    client.until(lambda: len(node.lines) > before, "log line")
    client.spin(0.5)
    (line,) = node.lines[before:]
    assert line.startswith("[ERROR]")
    assert str(text) in line

    assert client.set(weights=str(weights_file)) == []
    assert client.change(CONFIGURE) is True
    (reason,) = client.set(weights=str(text))
    assert "weights" in reason
    assert client.change(CLEANUP) is True


@pytest.mark.parametrize(("weights", "lines"), [("lsabinet_camvid_train", 1), ("lsabinet_synthetic", 0)])
def test_weights_that_are_not_for_commercial_use_are_named(client, node, weights_file, weights, lines):
    assert client.set(weights=weights) == []
    before = len(node.lines)
    try:
        assert client.change(CONFIGURE) is True
        client.until(lambda: any("configured: " in line for line in node.lines[before:]), "log line")
        assert client.change(CLEANUP) is True
        client.until(lambda: any("released" in line for line in node.lines[before:]), "log line")
        found = [line for line in node.lines[before:] if "commercial" in line]
        assert len(found) == lines
        assert all(weights in line and "lsabinet_synthetic" in line and "CC BY-NC" in line for line in found)
    finally:
        assert client.set(weights=str(weights_file)) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "cgnet"}, ["model", "cgnet", "espnet"]),
        ({"device": "abacus"}, ["device", "abacus"]),
        ({"backend": "abacus"}, ["backend", "abacus"]),
        ({"precision": "int8"}, ["precision", "int8", "torch"]),
        ({"precision": "int8", "backend": "auto"}, ["int8", "lsabinet export"]),
        ({"input_height": 64}, ["input_height", "input_width"]),
    ],
)
def test_bad_settings_fail_configure(client, values, words):
    good = {"model": "espnet", "device": "auto", "precision": "auto", "backend": "torch", "input_height": 0}
    assert client.set(**values) == []
    try:
        assert client.change(CONFIGURE) is False
        assert client.state() == UNCONFIGURED
        status = client.status()
        assert status["level"] == 2
        assert [word for word in words if word not in status["message"]] == []
    finally:
        # The other tests of this file share the node.
        assert client.set(**{name: good[name] for name in values}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("overlay_alpha", 1.5),
        ("precision", "fp7"),
        ("threads", -1),
        ("diagnostics_period_s", 0.0),
        ("max_image_age_ms", "old"),
        ("weights", " "),
        ("compressed", True),
        ("input_timeout_s", float("nan")),
    ],
)
def test_bad_parameter_is_rejected_with_a_reason(client, name, value):
    (reason,) = client.set(**{name: value})
    assert reason


# Frames in, masks out


def test_each_mask_is_the_segmentation_of_its_frame_with_the_frames_header(active, segmenter):
    for seed in range(4):
        frame = random_frame(seed)
        message = active.image(frame, frame_id=f"camera_{seed}")
        mask = active.mask_of(message)
        assert mask.header == message.header
        assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", 72, 100, 100)
        assert len(mask.data) == 72 * 100
        agreement = (pixels_of(mask) == segmenter.segment(frame).mask).mean()
        assert agreement > 0.999


def test_latency_record_of_every_mask(active):
    message = active.image(random_frame(1))
    message.header.stamp = active.node.get_clock().now().to_msg()
    mask = active.mask_of(message)
    record = active.until(
        lambda: next((r for r in active.latencies if r.header == mask.header), None), "latency record"
    )
    values = latency_values(record)
    assert list(values) == [*STAGES, "processing", "pipeline"]
    assert all(value >= 0 for value in values.values())
    assert values["processing"] == pytest.approx(sum(values[stage] for stage in STAGES), abs=0.005)
    assert values["inference"] > 0
    # The frame was stamped before it was sent.
    assert values["pipeline"] >= values["processing"] - values["publish"]
    assert values["pipeline"] < 60_000
    active.until(lambda: any(abs(v - values["processing"]) < 0.001 for v in active.processing), "processing time")
    active.until(lambda: any(abs(v - values["pipeline"]) < 0.001 for v in active.pipeline), "pipeline latency")


@pytest.mark.parametrize("stamp_s", [0, 3])
def test_no_pipeline_latency_for_a_stamp_with_another_epoch(active, stamp_s):
    message = active.image(random_frame(2))
    message.header.stamp.sec = stamp_s
    active.pipeline.clear()
    mask = active.mask_of(message)
    record = active.until(lambda: next((r for r in active.latencies if r.header == mask.header), None), "record")
    values = latency_values(record)
    assert np.isnan(values["pipeline"])
    assert values["processing"] > 0
    active.spin(0.2)
    assert active.pipeline == []


def test_simulated_time_gives_latencies_in_its_own_seconds(active):
    clock = active.node.create_publisher(Clock, "/clock", 1)
    assert active.set(use_sim_time=True) == []
    try:
        active.until(clock.get_subscription_count, "subscription to /clock")
        now = Clock()
        now.clock.sec = 100
        # After a bag has started again, stamps may be later than the current time. The clock stands still meanwhile.
        for stamp_s, latency_ms in [(99, 1000.0), (100, None), (160, None)]:

            def record_of_a_frame():
                clock.publish(now)
                active.spin(0.1)
                message = active.image(random_frame(3))
                message.header.stamp.sec = stamp_s
                mask = active.mask_of(message)
                records = [r for r in active.latencies if r.header == mask.header]
                values = latency_values(records[-1]) if records else None
                active.masks.clear()
                return values if values and not np.isnan(values["pipeline"]) else None

            values = active.until(record_of_a_frame, "latency in simulated time")
            assert values["pipeline"] == (latency_ms or values["processing"])
            active.latencies.clear()
    finally:
        assert active.set(use_sim_time=False) == []
        active.node.destroy_publisher(clock)


def test_stamps_in_the_future_are_counted_and_never_hide_the_processing_time(active):
    before = int(active.status()["stamps_in_future"])
    warned = 0
    try:
        while warned == 0:
            message = active.image(random_frame(2))
            message.header.stamp = active.node.get_clock().now().to_msg()
            message.header.stamp.sec += 20
            mask = active.mask_of(message)
            record = active.until(lambda: [r for r in active.latencies if r.header == mask.header], "record")[0]
            values = latency_values(record)
            assert values["pipeline"] >= values["processing"] > 0
            status = active.status()
            counted = int(status["stamps_in_future"]) - before
            warned = status["level"]
            assert counted <= 50
        # A frame may have been sent twice.
        assert counted >= 5
        assert warned == 1
        assert "clock" in status["message"]
        active.until(lambda: any(abs(v - values["pipeline"]) < 0.001 for v in active.pipeline), "pipeline latency")
        assert active.set(max_clock_skew_ms=0.0) == []
        active.mask_of(active.image(random_frame(2)))
        assert active.status()["level"] == 0
    finally:
        assert active.set(max_clock_skew_ms=100.0) == []


def test_counters_are_balanced_and_no_frame_is_published_twice(active):
    before = active.frames()
    active.masks.clear()
    active.diagnostics.clear()
    large = random_frame(4, (480, 640))
    for _ in range(40):
        active.camera.publish(active.image(large))
        active.spin(0.005)
    after = active.frames()
    for message in active.diagnostics:
        counts = {k: int(v) for k, v in active.read_status(message).items() if k.startswith("frames_")}
        assert counts["frames_in_flight"] in (0, 1)
        assert counts["frames_received"] == sum(
            counts[f"frames_{what}"] for what in ("published", "dropped", "rejected", "failed", "in_flight")
        )
    published = after["published"] - before["published"]
    assert 1 <= after["received"] - before["received"] <= 40
    active.until(lambda: len(active.masks) >= published, "all masks")
    active.spin(0.3)
    stamps = [mask.header.stamp.sec for mask in active.masks]
    assert len(stamps) == published
    assert stamps == sorted(set(stamps))


def test_confidence_and_overlay_are_published_for_subscribers(active, segmenter):
    from lsabinet_core.inference.overlay import blend

    confidences, overlays = [], []
    subscriptions = [
        active.subscribe(Image, "/segmentation/output/confidence", confidences.append),
        active.subscribe(Image, "/segmentation/output/overlay", overlays.append),
    ]
    assert active.set(overlay_alpha=0.25) == []
    frame = random_frame(5)
    expected = segmenter.segment(frame)
    message = active.image(frame)

    def both():
        active.mask_of(message)
        active.masks.clear()
        active.spin(0.2)
        return [m for m in confidences if m.header == message.header] and [
            m for m in overlays if m.header == message.header
        ]

    active.until(both, "confidence and overlay")
    confidence, overlay = confidences[-1], overlays[-1]
    assert (confidence.encoding, confidence.step) == ("mono8", 100)
    difference = pixels_of(confidence).astype(int) - expected.confidence
    assert np.abs(difference).max() <= 1
    assert (overlay.encoding, overlay.step) == ("rgb8", 300)
    rgb = blend(frame, pixels_of(active.mask_of(message)), segmenter.label_set, 0.25)[..., ::-1]
    np.testing.assert_array_equal(pixels_of(overlay, 3), rgb)
    for subscription in subscriptions:
        active.node.destroy_subscription(subscription)


def test_pixels_of_low_confidence_become_unlabelled(active, segmenter):
    frame = random_frame(12)
    expected = segmenter.segment(frame)
    active.mask_of(active.image(frame))
    assert "last_mean_confidence" not in active.status()
    # The value that divides the pixels most evenly: an untrained network is similarly sure everywhere.
    values, counts = np.unique(expected.confidence, return_counts=True)
    least = int(values[np.argmin(np.abs(np.cumsum(counts) - counts - expected.confidence.size / 2))])
    unlabelled = expected.confidence < least
    assert 0.05 < unlabelled.mean() < 0.95
    try:
        assert active.set(min_confidence=least / 255) == []
        mask = pixels_of(active.mask_of(active.image(frame)))
        assert ((mask == 255) == unlabelled).mean() > 0.99
        assert (mask == np.where(unlabelled, 255, expected.mask)).mean() > 0.99

        mean = expected.confidence.mean() / 255
        status = active.status()
        assert float(status["last_mean_confidence"]) == pytest.approx(mean, abs=0.005)
        assert status["level"] == 0
        assert active.set(min_mean_confidence=(1 + mean) / 2) == []
        active.masks.clear()
        active.mask_of(active.image(frame))
        status = active.status()
        assert status["level"] == 1
        assert "confidence" in status["message"]
    finally:
        assert active.set(min_confidence=0.0, min_mean_confidence=0.0) == []
    assert (pixels_of(active.mask_of(active.image(frame))) == expected.mask).mean() > 0.999
    assert active.status()["level"] == 0


def test_enable_and_disable(active, node):
    client = active.node.create_client(SetBool, "/segmentation/enable")

    def enable(value: bool) -> str:
        response = active._call(client, SetBool.Request(data=value))
        assert response.success
        return response.message

    try:
        assert enable(False) == "disabled"
        active.until(lambda: active.camera.get_subscription_count() == 0, "end of the subscription")
        assert active.set(input_timeout_s=0.2) == []
        active.spin(0.5)
        status = active.status()
        # A disabled camera is not reported as silent.
        assert (status["level"], status["enabled"], status["state"]) == (0, "false", "active")
        # It stays disabled when it is activated again.
        assert active.change(DEACTIVATE)
        assert active.change(ACTIVATE)
        assert active.status()["enabled"] == "false"
        assert active.camera.get_subscription_count() == 0
        assert active.set(input_timeout_s=0.0) == []
    finally:
        assert enable(True) == "enabled"
    active.until(active.camera.get_subscription_count, "subscription")
    assert active.mask_of(active.image(random_frame(13)))
    counts = active.frames()
    assert counts["received"] == counts["published"] + counts["dropped"]
    assert active.status()["enabled"] == "true"
    active.node.destroy_client(client)


def test_label_map_is_latched(active):
    label_map = json.loads(active.latched("/segmentation/output/label_map"))
    assert label_map["void"] == 255
    assert [entry["id"] for entry in label_map["classes"]] == list(range(11))
    assert label_map["classes"][3] == {"id": 3, "name": "Road", "color": [128, 64, 128]}


# Bad frames


def test_bad_frames_are_counted_and_logged_once_and_the_next_frame_is_segmented(active, node):
    for name, message in bad_frames(active).items():
        before = active.frames()
        lines = len(node.lines)

        def rejected():
            active.camera.publish(message)
            return active.frames()["rejected"] > before["rejected"]

        active.until(rejected, f"rejection of {name}")
        active.camera.publish(message)
        active.camera.publish(message)
        assert active.status()["level"] == 1
        logged = [line for line in node.lines[lines:] if line.startswith("[WARN]")]
        assert len(logged) <= 1, logged
        good = active.image(random_frame(7))
        assert pixels_of(active.mask_of(good)).shape == (72, 100), name
        assert active.status()["level"] == 0
    assert any("mystery12" in line and "bgr8" in line for line in node.lines)


@pytest.mark.parametrize("size", [(1, 1), (31, 64), (64, 31)])
def test_frames_of_a_few_pixels_are_rejected(active, size):
    before = active.frames()["rejected"]

    def rejected():
        active.camera.publish(active.image(random_frame(6, size)))
        return active.frames()["rejected"] > before

    active.until(rejected, "rejection")
    assert "32x32" in active.status()["message"]
    assert pixels_of(active.mask_of(active.image(random_frame(6, (32, 32))))).shape == (32, 32)


def test_frames_of_a_sensor_with_12_bits(active, segmenter):
    """In the low bits of 16-bit values, they look black unless the node is told."""
    frame = random_frame(11)
    values = np.rint(frame * (4095 / 255)).astype(np.uint16)
    try:
        for _ in range(5):
            active.mask_of(active.image(values, encoding="bgr16"))
        status = active.status()
        assert status["level"] == 1
        assert "significant_bits" in status["message"]
        assert active.set(significant_bits=12) == []
        mask = active.mask_of(active.image(values, encoding="bgr16"))
        assert (pixels_of(mask) == segmenter.segment(frame).mask).mean() > 0.999
        assert active.status()["level"] == 0
    finally:
        assert active.set(significant_bits=16) == []


def test_resolution_and_encoding_may_change_at_any_time(active, segmenter):
    for seed, size in enumerate([(72, 100), (145, 201), (64, 64), (480, 640), (72, 100)]):
        frame = random_frame(seed, size)
        mask = active.mask_of(active.image(frame))
        assert pixels_of(mask).shape == size
    rgb = active.mask_of(active.image(np.ascontiguousarray(frame[..., ::-1]), encoding="rgb8"))
    assert (pixels_of(rgb) == segmenter.segment(frame).mask).mean() > 0.999


# Health


def test_watchdog_reports_silence_and_slowness(active):
    assert active.status()["level"] == 0
    assert active.set(input_timeout_s=0.3) == []
    try:
        silent = active.until(lambda: (s := active.status())["level"] == 2 and s, "silence")
        assert re.search(r"\d+\.\d s", silent["message"])
    finally:
        assert active.set(input_timeout_s=0.0) == []
    assert active.status()["level"] == 0

    assert active.set(max_processing_time_ms=0.001, max_consecutive_slow=2) == []
    try:
        before = active.frames()["published"]
        for _ in range(3):
            active.mask_of(active.image(random_frame(8)))
            # More than one frame if one had to be sent again.
            slow = active.frames()["published"] - before
            status = active.status()
            assert status["level"] == (1 if slow < 2 else 2)
            assert "0.001 ms" in status["message"]
        assert slow >= 3
    finally:
        assert active.set(max_processing_time_ms=0.0, max_consecutive_slow=10) == []


def test_diagnostics_describe_network_and_engine(active, weights_file):
    status = active.status()
    assert status["name"] == "segmentation: health"
    assert status["weights"] == str(weights_file)
    assert (status["architecture"], status["label_set"]) == ("espnet", "camvid11")
    assert (status["device"], status["precision"], status["backend"]) == ("cpu", "fp32", "torch")
    assert (status["threads"], status["input_topic"]) == ("1", "/segmentation/input/image")
    assert status["engine"].startswith("PyTorch ")
    assert float(status["resident_memory_mib"]) > 10


# Cycles


def test_every_transition_is_logged_once(active, node):
    for transition, word in ((DEACTIVATE, "inactive"), (CLEANUP, "unconfigured"), (CONFIGURE, "espnet")):
        before = len(node.lines)
        assert active.change(transition)
        active.until(lambda: len(node.lines) > before, "log line")
        active.spin(0.3)
        (line,) = node.lines[before:]
        assert line.startswith("[INFO]")
        assert word in line
    active.bring_up()


def test_inactive_node_does_not_subscribe(active):
    assert active.change(DEACTIVATE)
    assert active.state() == INACTIVE
    active.until(lambda: active.camera.get_subscription_count() == 0, "end of the subscription")
    active.masks.clear()
    active.camera.publish(active.image(random_frame(9)))
    active.spin(0.5)
    assert active.masks == []
    assert active.change(ACTIVATE)
    assert active.mask_of(active.image(random_frame(9)))


def test_cycles_leak_nothing(active, node):
    def resources() -> tuple[int, float, int]:
        status = Path(f"/proc/{node.process.pid}/status").read_text()
        threads = int(re.search(r"Threads:\s+(\d+)", status)[1])
        resident_mib = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
        return threads, resident_mib, len(os.listdir(f"/proc/{node.process.pid}/fd"))

    measured = []
    for _ in range(12):
        assert active.change(DEACTIVATE)
        assert active.change(CLEANUP)
        assert active.state() == UNCONFIGURED
        assert active.change(CONFIGURE)
        assert active.change(ACTIVATE)
        measured.append(resources())
    assert active.state() == ACTIVE
    assert active.mask_of(active.image(random_frame(10)))
    assert active.node.count_subscribers("/segmentation/input/image") == 1
    assert active.node.count_publishers("/segmentation/output/mask") == 1
    # The allocator's pools fill during the first cycles.
    (threads, memory, files), (last_threads, last_memory, last_files) = measured[4], measured[-1]
    assert last_threads <= threads + 1
    assert last_files <= files + 2
    assert last_memory <= memory + 15, measured
