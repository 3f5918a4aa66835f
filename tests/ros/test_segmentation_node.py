"""The node as users run it: a process of its own, driven over DDS."""

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

STAGES = ("wait", "decode", "preprocess", "inference", "postprocess", "publish")


@pytest.fixture(scope="module")
def node(module_ros_domain, weights_file):
    # Without limits of time, which a busy machine exceeds; the test of the limits sets its own.
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


def test_node_waits_unconfigured_and_survives_an_impossible_transition(client, node):
    assert client.state() == UNCONFIGURED
    assert client.change(ACTIVATE) is False
    assert client.change(DEACTIVATE) is False
    assert client.state() == UNCONFIGURED
    assert client.status()["state"] == "unconfigured"


def test_bad_weights_fail_configure_with_one_line_and_the_node_recovers(client, node, weights_file, tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("these are no weights\n")
    assert client.set(weights=str(text)) == []
    before = len(node.lines)
    assert client.change(CONFIGURE) is False
    assert client.state() == UNCONFIGURED
    status = client.status()
    assert status["level"] == 2 and str(text) in status["message"]
    client.until(lambda: len(node.lines) > before, "log line")
    client.spin(0.5)
    (line,) = node.lines[before:]
    assert "configure failed" in line and str(text) in line

    assert client.set(weights=str(weights_file)) == []
    assert client.change(CONFIGURE) is True
    (reason,) = client.set(weights=str(text))
    assert "configure" in reason and "clean up" in reason
    assert client.change(CLEANUP) is True


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model": "cgnet"}, "is of the network lsabinet, expected model 'cgnet'"),
        ({"device": "abacus"}, "abacus"),
        ({"backend": "abacus"}, "abacus"),
        ({"precision": "int8"}, "expected precision to be auto, fp32, bf16 for backend 'torch'"),
        ({"precision": "int8", "backend": "auto"}, "lsabinet export"),
        ({"input_height": 64}, "input_height and input_width"),
    ],
)
def test_bad_settings_fail_configure(client, values, expected):
    good = {"model": "lsabinet", "device": "auto", "precision": "auto", "backend": "torch", "input_height": 0}
    assert client.set(**values) == []
    assert client.change(CONFIGURE) is False
    assert client.state() == UNCONFIGURED
    assert expected in client.status()["message"]
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
def test_bad_parameter_is_refused_with_a_reason(client, name, value):
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
    # Stamped before it was sent, so at least as long.
    assert values["pipeline"] >= values["processing"] - values["publish"]
    assert values["pipeline"] < 60_000
    active.until(lambda: any(abs(v - values["processing"]) < 0.001 for v in active.processing), "processing time")
    active.until(lambda: any(abs(v - values["pipeline"]) < 0.001 for v in active.pipeline), "pipeline latency")


@pytest.mark.parametrize("stamp_s", [0, 3])
def test_no_pipeline_latency_for_a_stamp_of_another_time_base(active, stamp_s):
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
        # A bag that has just looped stamps its frames after the present time.
        for stamp_s, latency_ms in [(99, 1000.0), (100, 0.0), (160, 0.0)]:

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

            assert active.until(record_of_a_frame, "latency in simulated time")["pipeline"] == latency_ms
            active.latencies.clear()
    finally:
        assert active.set(use_sim_time=False) == []
        active.node.destroy_publisher(clock)


def test_counters_hold_at_every_moment_and_no_frame_comes_twice(active):
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


def test_confidence_and_overlay_for_those_who_subscribe(active, segmenter):
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


def test_label_map_is_latched(active):
    label_map = json.loads(active.latched("/segmentation/output/label_map"))
    assert label_map["void"] == 255
    assert [entry["id"] for entry in label_map["classes"]] == list(range(11))
    assert label_map["classes"][3] == {"id": 3, "name": "Road", "color": [128, 64, 128]}


# Bad frames


def test_bad_frames_are_counted_logged_once_and_do_not_stop_the_next(active, node):
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
        logged = [line for line in node.lines[lines:] if "frame rejected" in line]
        assert len(logged) <= 1, logged
        good = active.image(random_frame(7))
        assert pixels_of(active.mask_of(good)).shape == (72, 100), name
        assert active.status()["level"] == 0
    assert any("mystery12" in line and "bgr8" in line for line in node.lines)


def test_resolution_and_encoding_may_change_in_mid_stream(active, segmenter):
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
        assert re.match(r"no image for \d+\.\d s", silent["message"])
    finally:
        assert active.set(input_timeout_s=0.0) == []
    assert active.status()["level"] == 0

    assert active.set(max_processing_time_ms=0.001, max_consecutive_slow=2) == []
    try:
        before = active.frames()["published"]
        for _ in range(3):
            active.mask_of(active.image(random_frame(8)))
            # More than one frame where one had to be sent again.
            slow = active.frames()["published"] - before
            status = active.status()
            assert status["level"] == (1 if slow < 2 else 2)
            assert "slow" in status["message"]
        assert slow >= 3
    finally:
        assert active.set(max_processing_time_ms=0.0, max_consecutive_slow=10) == []


def test_diagnostics_say_what_runs(active, weights_file):
    status = active.status()
    assert status["name"] == "segmentation: health"
    assert status["weights"] == str(weights_file)
    assert (status["architecture"], status["label_set"]) == ("lsabinet", "camvid11")
    assert (status["device"], status["precision"], status["backend"]) == ("cpu", "fp32", "torch")
    assert status["input_topic"] == "/segmentation/input/image"
    assert float(status["resident_memory_mib"]) > 10


# Cycles


def test_inactive_node_does_not_listen(active):
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
    # The first cycles fill the allocator's pools.
    (threads, memory, files), (last_threads, last_memory, last_files) = measured[4], measured[-1]
    assert last_threads <= threads + 1
    assert last_files <= files + 2
    assert last_memory <= memory + 15, measured
