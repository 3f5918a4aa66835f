"""The node that drives the lifecycle of a segmentation node: what it takes from the node's topics."""

import pytest
from std_msgs.msg import String

from lsabinet_core.errors import LsabinetError
from lsabinet_core.labels import CAMVID
from lsabinet_ros.messages import label_map_message
from lsabinet_ros.node_driver import NODE, NodeDriver
from lsabinet_ros.outputs import LATCHED
from lsabinet_ros.published_labels import PublishedLabels


@pytest.fixture
def driver(ros_domain):
    with NodeDriver("driver_under_test") as driver:
        yield driver


def publish(driver, label_remap):
    publisher = driver.node.create_publisher(String, f"{NODE}/output/label_map", LATCHED)
    publisher.publish(label_map_message(PublishedLabels(CAMVID, label_remap)))


def test_the_classes_are_those_of_the_label_map(driver):
    publish(driver, "")
    driver.wait_for_label_set(30.0)
    assert (driver.state.label_set.names, driver.state.label_set.colors) == (CAMVID.names, CAMVID.colors)


def test_other_ids_than_those_of_the_network_are_refused(driver):
    publish(driver, "Road=1,*=255")
    with pytest.raises(LsabinetError, match="label_remap"):
        driver.wait_for_label_set(30.0)
