"""A camera that is three times as fast as the engine: the node stays with the newest frame, over DDS."""

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from node_frames import random_frame
from node_harness import UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter

from lsabinet_ros import node as segmentation_node

ENGINE_S = 0.05
CAMERA_HZ = 60
SECONDS = 3.0


@pytest.fixture
def client(ros_domain, monkeypatch):
    segmenter = PatternSegmenter(ENGINE_S)
    monkeypatch.setattr(segmentation_node, "_load", lambda values: segmenter)
    parameters = {**UNLIMITED, "diagnostics_period_s": 0.1}
    with node_here(ros_domain, parameters, before_release=segmenter.go_on.set) as context:
        client = Client(context)
        yield client
        client.close()


def latencies_ms(client) -> dict[str, np.ndarray]:
    """The values of all latency records by name."""
    rows = [{item.key: float(item.value) for item in record.status[0].values} for record in client.latencies]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def test_latency_stays_that_of_one_frame_and_no_frame_is_lost_from_the_count(client):
    client.bring_up()
    before = client.frames()
    client.masks.clear()
    client.latencies.clear()
    reports = []
    client.subscribe(DiagnosticArray, "/diagnostics", lambda report: reports.append(client.read_status(report)))
    message, sent = client.image(random_frame(1, (64, 96))), 0
    start_s = due_s = time.monotonic()
    while due_s < start_s + SECONDS:
        while time.monotonic() < due_s:
            client.executor.spin_once(timeout_sec=max(0.0, due_s - time.monotonic()))
        message.header.stamp = client.node.get_clock().now().to_msg()
        client.camera.publish(message)
        sent += 1
        due_s += 1 / CAMERA_HZ

    after = client.frames()
    new = {name: after[name] - before[name] for name in after}
    assert new["received"] <= sent
    assert new["received"] == new["published"] + new["dropped"]
    assert new["dropped"] == new["replaced"]
    # The engine is not left idle, and does not get faster than it is.
    assert new["published"] <= (time.monotonic() - start_s) / ENGINE_S + 1
    assert new["dropped"] > new["published"] > 5
    assert len(reports) >= 3
    for report in reports:
        count = {name: int(report[f"frames_{name}"]) for name in ("received", "published", "dropped", "in_flight")}
        assert count["received"] == count["published"] + count["dropped"] + count["in_flight"]
        assert count["in_flight"] <= 1

    # Nothing more comes once the input has stopped, and nothing came twice.
    client.until(lambda: len(client.latencies) >= new["published"], "all latency records")
    client.spin(4 * ENGINE_S)
    stamps = [(mask.header.stamp.sec, mask.header.stamp.nanosec) for mask in client.masks]
    assert len(stamps) == new["published"]
    assert stamps == sorted(set(stamps))

    latencies = latencies_ms(client)
    # Not a second frame's time: a queue of ten would add ten times the engine's.
    assert np.median(latencies["wait"]) < ENGINE_S * 1e3
    assert np.percentile(latencies["pipeline"], 99) < 6 * ENGINE_S * 1e3
