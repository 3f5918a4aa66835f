"""The node that drives the lifecycle of a segmentation node: what it takes from the node's topics."""

import contextlib
import threading

import pytest
import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
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


@pytest.fixture
def slow_to_discover(driver):
    """A node with the lifecycle services, the answers of which are lost until the third request for its state.

    Yields:
        the requests that it has received, and its state, which each transition advances.
    """
    requests, state = [], State(id=State.PRIMARY_STATE_UNCONFIGURED, label="unconfigured")
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("segmentation", context=context)

    def get_state(request, response):
        requests.append("get_state")
        response.current_state = state
        return response

    def change_state(request, response):
        requests.append("change_state")
        state.id += 1
        response.success = True
        return response

    def drop_early_answers(service):
        send = service.send_response

        def send_or_drop(response, header):
            if requests.count("get_state") > 2:
                send(response, header)

        service.send_response = send_or_drop

    drop_early_answers(node.create_service(GetState, f"{NODE}/get_state", get_state))
    drop_early_answers(node.create_service(ChangeState, f"{NODE}/change_state", change_state))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    with contextlib.ExitStack() as ending:
        ending.callback(rclpy.shutdown, context=context)
        ending.callback(node.destroy_node)
        ending.callback(thread.join)
        ending.callback(executor.shutdown)
        yield requests, state


def test_lost_answers_are_requested_again(driver, slow_to_discover, monkeypatch):
    monkeypatch.setattr("lsabinet_ros.node_driver.REPEAT_S", 0.2)
    requests, state = slow_to_discover
    driver.configure(30.0, 30.0)
    assert state.id == State.PRIMARY_STATE_ACTIVE
    assert requests.count("change_state") == 2
    assert requests.index("change_state") > 2


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
