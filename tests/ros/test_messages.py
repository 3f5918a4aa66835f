"""Figures and labels as messages."""

import json
import math

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_ros import messages
from lsabinet_ros.diagnostics import Rates, count_values, device_memory_mib, resident_memory_mib
from lsabinet_ros.latency import FrameLatency
from lsabinet_ros.mailbox import FrameCounts


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


@pytest.mark.parametrize("label_set", [CAMVID, CITYSCAPES])
def test_label_map(label_set):
    content = json.loads(messages.label_map_message(label_set).data)
    assert (content["label_set"], content["void"]) == (label_set.name, 255)
    assert [entry["id"] for entry in content["classes"]] == list(range(len(label_set)))
    assert tuple(entry["name"] for entry in content["classes"]) == label_set.names
    assert tuple(tuple(entry["color"]) for entry in content["classes"]) == label_set.colors


def test_masks_are_mono8_rows_without_padding(header):
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for message in (messages.mask_message(mask, header), messages.confidence_message(mask, header)):
        assert message.header == header
        assert (message.encoding, message.height, message.width, message.step) == ("mono8", 5, 7, 7)
        # As Nav2's layer reads it.
        assert all(message.data[v * message.width + u] == mask[v, u] for v in range(5) for u in range(7))


def test_overlay_is_rgb(header):
    message = messages.overlay_message(np.full((4, 6, 3), (10, 20, 30), np.uint8), header)
    assert (message.encoding, message.step) == ("rgb8", 18)
    assert tuple(message.data[:3]) == (30, 20, 10)


def test_diagnostics():
    status = messages.diagnostic_status("a: health", "cpu", 1, "slow", {"rate": 1.5, "frames": 3})
    assert (status.level, status.name, status.message) == (DiagnosticStatus.WARN, "a: health", "slow")
    assert [(item.key, item.value) for item in status.values] == [("rate", "1.5"), ("frames", "3")]


def test_stamp(header):
    assert messages.stamp_ns(header) == 12_345_678_901


def test_rates_between_reports():
    now = [100.0]
    rates = Rates(lambda: now[0])
    now[0] += 2
    assert rates(FrameCounts(received=30, published=20, dropped=10)) == (15.0, 10.0)
    now[0] += 1
    assert rates(FrameCounts(received=33, published=23, dropped=10)) == (3.0, 3.0)
    # The counters begin anew at every activation.
    now[0] += 1
    assert rates(FrameCounts(received=2, published=1)) == (0.0, 0.0)


def test_counts_have_the_keys_of_the_report():
    values = count_values(FrameCounts(received=9, published=4, dropped=3, rejected=1, failed=1))
    assert values["frames_received"] == 9
    assert values["frames_received"] == sum(
        values[f"frames_{name}"] for name in ("published", "dropped", "rejected", "failed", "in_flight")
    )


def test_memory():
    assert 1 < resident_memory_mib() < 1e6
    assert device_memory_mib("cpu") is None


def test_label_info_where_vision_msgs_is_installed(monkeypatch, header):
    made = {}
    monkeypatch.setattr(messages, "LabelInfo", lambda **fields: made.update(fields), raising=False)
    monkeypatch.setattr(messages, "VisionClass", lambda class_id, class_name: (class_id, class_name), raising=False)
    messages.label_info_message(CAMVID, header)
    assert made["header"] == header
    assert made["class_map"] == list(enumerate(CAMVID.names))
