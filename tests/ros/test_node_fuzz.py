"""Mutated messages at the live node, good frames between: each one is counted, and the good ones are segmented."""

import threading

import cv2
import numpy as np
import pytest
from mutated_messages import encoded_images, mutated_compressed_image, mutated_image
from node_frames import pixels_of, random_frame
from node_harness import DEADLINE_S, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

from lsabinet_ros import node as segmentation_node
from lsabinet_ros.mailbox import Mailbox

MESSAGES = 200
GOOD_EVERY = 20
SIZE = (40, 48)


@pytest.fixture
def finished(monkeypatch) -> threading.Semaphore:
    """Released once for every frame of any camera that the worker has finished."""
    semaphore = threading.Semaphore(0)
    finish = Mailbox.finish

    def finish_and_tell(self, outcome):
        finish(self, outcome)
        semaphore.release()

    monkeypatch.setattr(Mailbox, "finish", finish_and_tell)
    return semaphore


@pytest.fixture
def clients(ros_domain, monkeypatch, finished):
    segmenter = PatternSegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: segmenter)
    # Best effort may lose messages, which could then not be told from those that the node does not count.
    reliable = {
        f"qos_overrides./segmentation/{topic}.subscription.reliability": "reliable"
        for topic in ("front/input/image", "rear/input/image/compressed")
    }
    parameters = {"cameras": ["front", "rear"], "rear.compressed": True, "max_pixels": 1 << 16, **reliable}
    with node_here(
        ros_domain, {**UNLIMITED, "diagnostics_period_s": 0.1, **parameters}, before_release=segmenter.go_on.set
    ) as context:
        front = Client(context, name="front")
        rear = Client(context, compressed=True, name="rear", beside=front)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        for client in (front, rear):
            best_effort = client.camera
            client.camera = client.node.create_publisher(best_effort.msg_type, best_effort.topic_name, qos)
            client.node.destroy_publisher(best_effort)
        yield front, rear
        front.close()


def compressed(client, frame: np.ndarray) -> CompressedImage:
    message = CompressedImage(header=client.image(frame).header, format="bgr8; png compressed bgr8")
    message.data.frombytes(cv2.imencode(".png", frame)[1].tobytes())
    return message


def test_every_message_is_counted_and_good_frames_are_segmented(clients, finished):
    front, rear = clients
    front.bring_up(SIZE)
    rear.bring_up(SIZE)
    random = np.random.default_rng(21)
    files = encoded_images(random, SIZE)
    before = front.frames(), rear.frames()
    while finished.acquire(blocking=False):
        pass

    def send(client, message):
        """Send it and wait until the worker has finished it, so that no later message takes its place."""
        client.camera.publish(message)
        assert finished.acquire(timeout=DEADLINE_S), "no outcome of a frame"

    good = 0
    for index in range(MESSAGES):
        if index % 2:
            send(front, mutated_image(random, sides=(30, 64)))
        else:
            send(rear, mutated_compressed_image(random, files[index // 2 % len(files)]))
        if index % GOOD_EVERY == 0:
            good += 1
            frame = random_frame(index, SIZE)
            for client, message in ((front, front.image(frame)), (rear, compressed(rear, frame))):
                send(client, message)
                mask = client.until(lambda: [m for m in client.masks if m.header == message.header], "mask")[0]
                np.testing.assert_array_equal(pixels_of(mask), frame[..., 0])

    for client, old in zip(clients, before):
        frames = client.frames()
        new = {name: frames[name] - old[name] for name in frames}
        assert new["received"] == MESSAGES / 2 + good
        assert new["received"] == new["published"] + new["rejected"]
        assert new["rejected"] > MESSAGES / 10
        assert new["published"] > good
