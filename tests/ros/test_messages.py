"""Messages for figures and labels, and the figures of the diagnostics."""

import json
import math

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_ros import messages
from lsabinet_ros.diagnostics import Rates, count_values, device_memory_mib, resident_memory_mib
from lsabinet_ros.latency import FrameLatency, LatencyWindow, header_stamp_ns
from lsabinet_ros.mailbox import FrameCounts
from lsabinet_ros.published_labels import PublishedLabels


@pytest.fixture
def header():
    header = Header(frame_id="front")
    header.stamp.sec, header.stamp.nanosec = 12, 345_678_901
    return header


def test_latency_record(header):
    latency = FrameLatency(0.5, 1.25, 2, 30.12349, 4, 0.125, pipeline=math.nan)
    record = messages.latency_message(latency, "cuda:0", header)
    assert record.header == header
    (status,) = record.status
    assert (status.name, status.message, status.hardware_id) == ("lsabinet: latency", "ok", "cuda:0")
    assert status.level == DiagnosticStatus.OK
    assert {item.key: item.value for item in status.values} == {
        "wait": "0.500",
        "decode": "1.250",
        "preprocess": "2.000",
        "inference": "30.123",
        "postprocess": "4.000",
        "publish": "0.125",
        "processing": "37.998",
        "pipeline": "nan",
    }


def test_class_share(header):
    """Each share is counted by hand; ids that are not published have none."""
    mask = np.full((10, 20), 255, np.uint8)
    mask[:5] = 1
    mask[5, :3] = 7
    labels = PublishedLabels(CAMVID, "Road=1,Pavement=1,Car=7,Pole=2,*=255")
    record = messages.class_share_message(mask, labels, "cpu", header)
    assert record.header == header
    (status,) = record.status
    assert (status.name, status.hardware_id) == ("lsabinet: class share", "cpu")
    assert [(item.key, item.value) for item in status.values] == [
        ("Road+Pavement", "0.500000"),
        ("Pole", "0.000000"),
        ("Car", "0.015000"),
        ("unlabelled", "0.485000"),
    ]


@pytest.mark.parametrize("label_set", [CAMVID, CITYSCAPES])
def test_label_map(label_set):
    content = json.loads(messages.label_map_message(PublishedLabels(label_set)).data)
    assert (content["label_set"], content["void"]) == (label_set.name, 255)
    assert [entry["id"] for entry in content["classes"]] == list(range(len(label_set)))
    assert tuple(entry["name"] for entry in content["classes"]) == label_set.names
    assert tuple(tuple(entry["color"]) for entry in content["classes"]) == label_set.colors


def test_masks_are_mono8_rows_without_padding(header):
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for message in (messages.grey_message(mask, header),):
        assert message.header == header
        assert (message.encoding, message.height, message.width, message.step) == ("mono8", 5, 7, 7)
        # As Nav2's semantic layer reads it.
        assert all(message.data[v * message.width + u] == mask[v, u] for v in range(5) for u in range(7))


def test_colours_are_rgb(header):
    message = messages.colour_message(np.full((4, 6, 3), (10, 20, 30), np.uint8), header)
    assert (message.encoding, message.step) == ("rgb8", 18)
    assert tuple(message.data[:3]) == (30, 20, 10)


def test_diagnostics():
    status = messages.diagnostic_status("a: health", "cpu", 1, "slow", {"rate": 1.5, "frames": 3})
    assert (status.level, status.name, status.message) == (DiagnosticStatus.WARN, "a: health", "slow")
    assert [(item.key, item.value) for item in status.values] == [("rate", "1.5"), ("frames", "3")]


def test_stamp(header):
    assert header_stamp_ns(header) == 12_345_678_901


def test_rates_between_reports():
    now = [100.0]
    rates = Rates(lambda: now[0])
    now[0] += 2
    assert rates(FrameCounts(received=30, published=20, dropped=10)) == (15.0, 10.0)
    now[0] += 1
    assert rates(FrameCounts(received=33, published=23, dropped=10)) == (3.0, 3.0)
    # The counters start at 0 at every activation.
    now[0] += 1
    assert rates(FrameCounts(received=2, published=1)) == (0.0, 0.0)


def test_counts_have_the_keys_of_the_report():
    values = count_values(FrameCounts(received=9, published=4, dropped=3, rejected=1, failed=1))
    assert values["frames_received"] == 9
    assert values["frames_received"] == sum(
        values[f"frames_{name}"] for name in ("published", "dropped", "rejected", "failed", "in_flight")
    )


def test_percentiles_of_the_last_200_latencies():
    window = LatencyWindow()
    assert window.percentiles() == {}
    # The first ones are no longer among the last 200; the rest are 1 to 200 ms, in any order.
    order = np.random.default_rng(0).permutation(200) + 1.0
    for inference in [9999.0] * 50 + list(order):
        window.add(FrameLatency(0.0, 1.0, 0.0, inference, 0.0, 2.0, float("nan")))
    found = window.percentiles()
    assert [found[f"inference_p{p}_ms"] for p in (50, 95, 99)] == pytest.approx([100.5, 190.05, 198.01])
    assert [found[f"processing_p{p}_ms"] for p in (50, 95, 99)] == pytest.approx([103.5, 193.05, 201.01])
    # Unknown for every frame.
    assert not any(name.startswith("pipeline") for name in found)
    assert len(found) == 7 * 3


def test_memory():
    assert 1 < resident_memory_mib() < 1e6
    assert device_memory_mib("cpu") is None


def test_label_info_where_vision_msgs_is_installed(monkeypatch, header):
    made = {}
    monkeypatch.setattr(messages, "LabelInfo", lambda **fields: made.update(fields), raising=False)
    monkeypatch.setattr(messages, "VisionClass", lambda class_id, class_name: (class_id, class_name), raising=False)
    messages.label_info_message(PublishedLabels(CAMVID, "Sky=42"), header)
    assert made["header"] == header
    assert made["class_map"] == [*list(enumerate(CAMVID.names))[1:], (42, "Sky")]
