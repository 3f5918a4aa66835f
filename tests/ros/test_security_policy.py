"""The permissions in config/segmentation.policy.xml against the topics and services of a running node."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from node_harness import UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter

from lsabinet_ros import node as segmentation_node

POLICY = Path(__file__).resolve().parents[2] / "config" / "segmentation.policy.xml"
NODE = "/segmentation"


def allowed(kind: str, permission: str) -> set[str]:
    """The names of topics or services that have a permission, without ``~``."""
    (profile,) = ElementTree.parse(POLICY).iterfind("enclaves/enclave/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "segmentation")
    groups = [group for group in profile if group.tag == f"{kind}s" and group.get(permission) == "ALLOW"]
    return {(entry.text or "").replace("~", NODE) for group in groups for entry in group.iterfind(kind)}


@pytest.mark.parametrize("compressed", [False, True])
def test_the_node_may_do_what_it_does(ros_domain, monkeypatch, compressed):
    segmenter = PatternSegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: segmenter)
    parameters = {**UNLIMITED, "compressed": compressed}
    with node_here(ros_domain, parameters, before_release=segmenter.go_on.set) as context:
        client = Client(context, compressed=compressed)
        client.bring_up()
        graph = client.node

        def names(of) -> set[str]:
            return {name for name, _ in of("segmentation", "/")}

        published = names(graph.get_publisher_names_and_types_by_node)
        subscribed = names(graph.get_subscriber_names_and_types_by_node)
        served = names(graph.get_service_names_and_types_by_node)
        client.close()
    assert f"{NODE}/output/mask" in published
    assert f"{NODE}/enable" in served
    assert published <= allowed("topic", "publish")
    assert subscribed <= allowed("topic", "subscribe")
    assert served <= allowed("service", "reply")
