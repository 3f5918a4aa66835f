"""The table of topics in docs/node.md is what the node publishes and subscribes to."""

import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import rclpy
import yaml
from rclpy.lifecycle import LifecycleNode

from lsabinet_core.labels import CAMVID
from lsabinet_ros import messages
from lsabinet_ros.camera import Camera
from lsabinet_ros.node import SegmentationNode
from lsabinet_ros.published_labels import PublishedLabels
from lsabinet_ros.view import View

DOCS = Path(__file__).resolve().parents[2] / "docs"


def documented() -> dict[str, str]:
    """Topic -> type, as sensor_msgs/Image."""
    rows = re.findall(r"^\| `(\S+)` \| (\w+/\w+)", (DOCS / "node.md").read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def type_of(message_type) -> str:
    return f"{message_type.__module__.split('.')[0]}/{message_type.__name__}"


@pytest.fixture
def context(ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    yield context
    rclpy.shutdown(context=context)


@pytest.mark.parametrize("compressed", [False, True])
def test_topics_of_a_camera_and_their_types(context, compressed):
    node = LifecycleNode("segmentation", context=context)
    segmenter = SimpleNamespace()
    options = {"changed": threading.Condition(), "stopped": threading.Event()}
    options |= {"compressed": compressed, "camera_info_topic": "camera_info" if compressed else ""}
    camera = Camera(node, segmenter, PublishedLabels(CAMVID), View(), **options)
    camera.start()
    camera.subscribe()
    ours = [entity for entity in (*node.publishers, *node.subscriptions) if "/segmentation/" in entity.topic_name]
    found = {entity.topic_name.replace("/segmentation", "~"): type_of(entity.msg_type) for entity in ours}
    # Every node has it.
    found.pop("~/transition_event", None)
    node.destroy_node()

    expected = documented()
    assert len(expected) == 18
    del expected["/diagnostics"]
    del expected["~/input/image" if compressed else "~/input/image/compressed"]
    if not compressed:
        del expected["~/output/camera_info"]
    if messages.LabelInfo is None:
        del expected["~/output/label_info"]
    assert found == expected


def test_diagnostics(context):
    node = SegmentationNode(context=context)
    found = {publisher.topic_name: type_of(publisher.msg_type) for publisher in node.publishers}
    node.destroy_node()
    assert found["/diagnostics"] == documented()["/diagnostics"]


def test_documented_costmap_layer_reads_outputs_and_names_every_class():
    """The layer's parameters as its README gives them; it logs an error for each class that they do not name."""
    section = (DOCS / "vehicle.md").read_text(encoding="utf-8").partition("## Nav2")[2].partition("\n## ")[0]
    source = yaml.safe_load(section.split("```yaml\n")[1].partition("```")[0])["semantic_segmentation_layer"]["camera"]
    topics = {name: topic.replace("/segmentation", "~") for name, topic in source.items() if name.endswith("_topic")}
    assert topics.pop("pointcloud_topic").startswith("/camera")
    assert {name.removesuffix("_topic"): documented()[topic] for name, topic in topics.items()} == {
        "segmentation": "sensor_msgs/Image",
        "confidence": "sensor_msgs/Image",
        "labels": "vision_msgs/LabelInfo",
    }
    assert sorted(name for group in source["class_types"] for name in source[group]["classes"]) == sorted(CAMVID.names)
