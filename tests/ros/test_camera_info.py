"""A calibrated camera: rectified masks and the calibration beside them, over DDS."""

import numpy as np
import pytest
from node_frames import pixels_of, random_frame
from node_harness import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from sensor_msgs.msg import CameraInfo

from lsabinet_ros import node as segmentation_node

HEIGHT, WIDTH = 72, 100
SHIFT = 10


@pytest.fixture(scope="module")
def client(module_ros_domain):
    with pytest.MonkeyPatch.context() as patch:
        segmenter = PatternSegmenter()
        patch.setattr(segmentation_node, "_load", lambda values: segmenter)
        parameters = {"diagnostics_period_s": 0.1, "camera_info_topic": "camera/camera_info", "rectify": True}
        with node_here(module_ros_domain, {**UNLIMITED, **parameters}, before_release=segmenter.go_on.set) as context:
            client = Client(context)
            yield client
            client.close()


def shifting_info() -> CameraInfo:
    """No distortion, but the rectified camera looks at what is SHIFT pixels to the left."""
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = np.array([90.0, 0, 50, 0, 90, 36, 0, 0, 1])
    info.r = np.eye(3).ravel()
    info.p = np.array([90.0, 0, 50 + SHIFT, 0, 0, 90, 36, 0, 0, 0, 1, 0])
    return info


def test_frames_are_rejected_until_the_calibration_comes_and_then_rectified(client):
    assert client.change(CONFIGURE)
    assert client.change(ACTIVATE)
    client.until(client.camera.get_subscription_count, "subscription to the camera")

    def rejected():
        client.camera.publish(client.image(random_frame(1)))
        return int(client.status()["frames_rejected"]) > 0

    client.until(rejected, "rejection")
    message = client.status()["message"]
    assert "/camera/camera_info" in message
    assert "CameraInfo" in message

    driver = client.node.create_publisher(CameraInfo, "/camera/camera_info", 1)
    infos = []
    subscription = client.subscribe(CameraInfo, "/segmentation/output/camera_info", infos.append)
    client.until(driver.get_subscription_count, "subscription to the calibration")
    frame = random_frame(2)
    frame[..., 0] %= 11
    image = client.image(frame)

    def mask_and_info():
        driver.publish(shifting_info())
        client.camera.publish(image)
        client.spin(0.1)
        masks = [mask for mask in client.masks if mask.header == image.header]
        found = [info for info in infos if info.header == image.header]
        return (masks[0], found[0]) if masks and found else None

    mask, info = client.until(mask_and_info, "mask with its calibration")
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[:, SHIFT:] = frame[:, :-SHIFT, 0]
    np.testing.assert_array_equal(pixels_of(mask), expected)
    info.header = CameraInfo().header
    assert info == shifting_info()

    # An image of another size is rejected, and the next good one is segmented.
    before = client.frames()["rejected"]

    def rejected_size():
        client.camera.publish(client.image(random_frame(3, (64, 96))))
        return client.frames()["rejected"] > before

    client.until(rejected_size, "rejection")
    assert "100x72, got 96x64" in client.status()["message"]
    assert client.mask_of(client.image(random_frame(4)))
    client.node.destroy_subscription(subscription)
    client.node.destroy_publisher(driver)


@pytest.mark.parametrize(
    ("values", "words"),
    [({"camera_info_topic": ""}, ["rectify", "camera_info_topic"]), ({"camera_info_topic": "a b"}, ["'a b'"])],
)
def test_bad_topics_fail_configure(client, values, words):
    client.change(DEACTIVATE)
    client.change(CLEANUP)
    assert client.set(**values) == []
    try:
        assert client.change(CONFIGURE) is False
        message = client.status()["message"]
        assert [word for word in words if word not in message] == []
    finally:
        assert client.set(camera_info_topic="camera/camera_info") == []
