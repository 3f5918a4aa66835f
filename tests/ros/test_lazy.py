"""A node that receives images only while an output has a subscriber."""

import pytest
from node_frames import pixels_of, random_frame
from node_harness import CONFIGURE, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from lsabinet_ros import node as segmentation_node
from lsabinet_ros import outputs


@pytest.fixture
def client(ros_domain, tmp_path, monkeypatch):
    segmenter = PatternSegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: segmenter)
    parameters = {
        **UNLIMITED,
        "diagnostics_period_s": 0.1,
        "input_timeout_s": 0.1,
        "lazy": True,
        "snapshot_directory": str(tmp_path / "snapshots"),
    }
    with node_here(ros_domain, parameters, before_release=segmenter.go_on.set) as context:
        client = Client(context)
        yield client
        client.close()


def without_subscribers(client):
    """Unsubscribe from all outputs, and wait until the node does not want images any more."""
    for subscription in list(client.node.subscriptions):
        if subscription.topic_name.startswith("/segmentation/"):
            client.node.destroy_subscription(subscription)
    client.until(lambda: client.camera.get_subscription_count() == 0, "end of the subscription")


def test_images_are_received_while_an_output_has_a_subscriber(client, tmp_path):
    client.bring_up()
    without_subscribers(client)
    status = client.status()
    # The camera is reported neither as silent nor as broken.
    assert (status["level"], status["state"]) == (0, "active")
    assert "no output" in status["message"]
    masks = []
    client.subscribe(Image, "/segmentation/output/mask", masks.append)
    image = client.image(random_frame(1, (64, 96)))
    client.until(lambda: client.camera.publish(image) or masks, "mask")
    assert set(pixels_of(masks[0]).flat) == set(random_frame(1, (64, 96))[..., 0].flat)
    without_subscribers(client)
    # A snapshot needs one.
    save = client.node.create_client(Trigger, "/segmentation/save_snapshot")
    client.until(save.service_is_ready, "service")
    answer = save.call_async(Trigger.Request())
    client.until(lambda: client.camera.publish(image) or answer.done(), "snapshot")
    assert answer.result().success, answer.result().message
    client.until(lambda: client.camera.get_subscription_count() == 0, "end of the subscription")


def test_distributions_that_do_not_report_subscribers_refuse_it(client, monkeypatch):
    monkeypatch.setattr(outputs, "event_handler", None)
    assert not client.change(CONFIGURE)
    assert "lazy" in client.status()["message"]
    assert client.set(lazy=False) == []
    assert client.change(CONFIGURE)
