"""Lifecycle cycles while parameters change and subscribers come and go: the node in this process leaks nothing."""

import gc
import os
import re
import threading
from pathlib import Path

import pytest
from node_frames import random_frame
from node_harness import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from shared_memory import segments_of

from lsabinet_ros import node as segmentation_node

CYCLES = 20
SETTLED = 8
"""The cycle after which the allocator's pools are filled."""
PARAMETER_HZ = 50
GROWTH_MIB = 12
SIZE = (240, 320)


@pytest.fixture
def client(ros_domain, monkeypatch):
    segmenter = PatternSegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: segmenter)
    parameters = {**UNLIMITED, "diagnostics_period_s": 0.1}
    with node_here(ros_domain, parameters, before_release=segmenter.go_on.set) as context:
        client = Client(context)
        yield client
        client.close()


def resources(client) -> dict[str, float]:
    """What this process and the graph hold."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    topics = [name for name, _ in client.node.get_topic_names_and_types()]
    endpoints = sum(client.node.count_publishers(name) + client.node.count_subscribers(name) for name in topics)
    return {
        "memory_mib": int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024,
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "segments": len(segments_of(os.getpid())),
        "endpoints": endpoints,
    }


def test_twenty_cycles_leak_nothing(client):
    requests = 0

    def change_parameter():
        nonlocal requests
        requests += 1
        values = {"overlay_alpha": requests % 11 / 10, "min_confidence": requests % 3 / 10, "max_rate_hz": 1000.0}
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        client._set.call_async(request)

    client.bring_up(SIZE)
    timer = client.node.create_timer(1 / PARAMETER_HZ, change_parameter)
    measured, seen = [], []
    for cycle in range(CYCLES):
        viewers = [
            client.subscribe(Image, "/segmentation/output/overlay", seen.append),
            client.subscribe(CompressedImage, "/segmentation/output/mask/compressed", seen.append),
        ]
        assert client.mask_of(client.image(random_frame(cycle, SIZE)))
        for transition in (DEACTIVATE, CLEANUP, CONFIGURE, ACTIVATE):
            assert client.change(transition)
        for viewer in viewers:
            client.node.destroy_subscription(viewer)
        client.until(client.camera.get_subscription_count, "subscription to the camera")
        client.masks.clear()
        client.latencies.clear()
        client.diagnostics.clear()
        seen.clear()
        measured.append(resources(client))
    client.node.destroy_timer(timer)
    assert requests > CYCLES
    first, last = measured[SETTLED], measured[-1]
    assert last["memory_mib"] <= first["memory_mib"] + GROWTH_MIB, measured
    assert last["threads"] <= first["threads"] + 1, measured
    assert last["files"] <= first["files"] + 2, measured
    assert last["segments"] <= first["segments"], measured
    assert last["endpoints"] <= first["endpoints"], measured
    assert client.mask_of(client.image(random_frame(99, SIZE)))
