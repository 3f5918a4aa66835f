"""Cameras with settings of their own: region of interest, body mask, compression and maximum rate, over DDS."""

import cv2
import numpy as np
import pytest
from node_frames import pixels_of, random_frame
from node_harness import CLEANUP, CONFIGURE, DEACTIVATE, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from rclpy.duration import Duration
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_ros import node as segmentation_node

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def segmenter():
    with pytest.MonkeyPatch.context() as patch:
        segmenter = PatternSegmenter()
        patch.setattr(segmentation_node, "_load", lambda values: segmenter)
        yield segmenter


@pytest.fixture(scope="module")
def body_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("body") / "front.png"
    body = np.zeros((HEIGHT, WIDTH), np.uint8)
    body[80:] = 255
    assert cv2.imwrite(str(path), body)
    return path


@pytest.fixture(scope="module")
def clients(module_ros_domain, segmenter, body_file):
    parameters = {
        **UNLIMITED,
        "diagnostics_period_s": 0.1,
        "cameras": ["front", "rear"],
        "front.region_of_interest": "8,16,112,72",
        "front.body_mask": str(body_file),
        "rear.compressed": True,
    }
    with node_here(module_ros_domain, parameters, before_release=segmenter.go_on.set) as context:
        front = Client(context, name="front")
        rear = Client(context, compressed=True, name="rear", beside=front)
        yield front, rear
        front.close()


def test_only_the_region_is_segmented_and_the_rest_is_unlabelled(clients, segmenter):
    front, _ = clients
    front.bring_up((HEIGHT, WIDTH))
    confidences = []
    subscription = front.subscribe(Image, "/segmentation/front/output/confidence", confidences.append)
    frame = random_frame(1, (HEIGHT, WIDTH))
    frame[..., 0] %= 11

    def confidence():
        message = front.image(frame)
        mask = front.mask_of(message)
        front.spin(0.2)
        found = [m for m in confidences if m.header == mask.header]
        return (mask, found[0]) if found else None

    mask, confidence = front.until(confidence, "confidence")
    assert segmenter.sizes[-1] == (72, 112)
    # The engine is built for what is segmented.
    assert (72, 112) in segmenter.warmed
    visible = np.zeros((HEIGHT, WIDTH), bool)
    visible[16:80, 8:120] = True
    np.testing.assert_array_equal(pixels_of(mask), np.where(visible, frame[..., 0], 255))
    np.testing.assert_array_equal(pixels_of(confidence), np.where(visible, frame[..., 1], 0))
    # It is reported a moment after the masks are published.
    reported = front.until(lambda: front.status().get("last_mean_confidence"), "mean confidence")
    assert float(reported) == pytest.approx(frame[visible][:, 1].mean() / 255, abs=1e-3)
    front.node.destroy_subscription(subscription)


def test_a_frame_that_does_not_contain_the_region_is_rejected(clients):
    front, _ = clients
    front.bring_up((HEIGHT, WIDTH))
    before = front.frames()["rejected"]

    def rejected():
        front.camera.publish(front.image(random_frame(2, (64, 80))))
        return front.frames()["rejected"] > before

    front.until(rejected, "rejection")
    assert "128x96, got 80x64" in front.status()["message"]
    assert front.mask_of(front.image(random_frame(3, (HEIGHT, WIDTH))))


def test_the_other_camera_sends_compressed_images_and_is_segmented_whole(clients, segmenter):
    _, rear = clients
    rear.bring_up()
    assert rear.status()["input_topic"] == "/segmentation/rear/input/image/compressed"
    frame = random_frame(4, (HEIGHT, WIDTH))
    message = CompressedImage(header=rear.image(frame, frame_id="rear").header, format="rgb8; png compressed bgr8")
    message.data.frombytes(cv2.imencode(".png", frame)[1].tobytes())
    np.testing.assert_array_equal(pixels_of(rear.mask_of(message)), frame[..., 0])


def test_frames_above_the_maximum_rate_are_dropped_and_counted(clients):
    front, _ = clients
    front.bring_up((HEIGHT, WIDTH))
    assert front.set(**{"front.max_rate_hz": 0.01}) == []
    before = front.frames()
    try:

        def dropped():
            front.camera.publish(front.image(random_frame(5, (HEIGHT, WIDTH))))
            return front.frames()["over_rate"] >= before["over_rate"] + 5

        front.until(dropped, "dropped frames")
        after = front.frames()
        assert after["published"] <= before["published"] + 1
        reasons = ("replaced", "over_rate", "unwanted", "too_old", "stopped")
        assert after["dropped"] == sum(after[reason] for reason in reasons)
        assert after["received"] == sum(after[n] for n in ("published", "dropped", "rejected", "failed"))
    finally:
        assert front.set(**{"front.max_rate_hz": 0.0}) == []
    assert front.mask_of(front.image(random_frame(6, (HEIGHT, WIDTH))))


def test_one_camera_is_disabled_and_enabled_again(clients):
    front, rear = clients
    front.bring_up((HEIGHT, WIDTH))
    rear.bring_up()
    topic = front.status()["input_topic"]
    assert front.set(**{"front.enabled": False}) == []
    try:
        front.until(lambda: front.node.count_subscribers(topic) == 0, "end of the subscription")
        status = front.status()
        assert (status["level"], status["enabled"], rear.status()["enabled"]) == (0, "false", "true")
        assert "parameter enabled" in status["message"]
        # What is refused changes nothing.
        assert len(front.set(**{"front.enabled": 1})) == 1
        assert front.node.count_subscribers(topic) == 0
    finally:
        assert front.set(**{"front.enabled": True}) == []
    assert front.mask_of(front.image(random_frame(9, (HEIGHT, WIDTH))))


def test_images_that_are_too_old_are_dropped_and_reported(clients, segmenter):
    front, _ = clients
    front.bring_up((HEIGHT, WIDTH))
    assert front.set(max_image_age_ms=30_000.0, drop_old_images=True) == []
    before, segmented = front.frames(), len(segmenter.sizes)
    old = front.image(random_frame(7, (HEIGHT, WIDTH)))
    old.header.stamp = (front.node.get_clock().now() - Duration(seconds=60)).to_msg()
    try:

        def dropped():
            front.camera.publish(old)
            return front.frames()["too_old"] > before["too_old"]

        front.until(dropped, "dropped image")
        assert front.frames()["published"] == before["published"]
        assert len(segmenter.sizes) == segmented
        status = front.status()
        assert status["level"] == 1
        assert "ms old" in status["message"]
        new = front.image(random_frame(8, (HEIGHT, WIDTH)))
        new.header.stamp = front.node.get_clock().now().to_msg()
        assert front.mask_of(new)
    finally:
        assert front.set(max_image_age_ms=0.0, drop_old_images=False) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rear.region_of_interest", "1,2,3", ["X,Y,WIDTH,HEIGHT", "'1,2,3'"]),
        ("rear.body_mask", "/no/such/file.png", ["/no/such/file.png"]),
    ],
)
def test_bad_settings_of_a_camera_fail_configure(clients, name, value, words):
    front, _ = clients
    front.change(DEACTIVATE)
    front.change(CLEANUP)
    assert front.set(**{name: value}) == []
    try:
        assert front.change(CONFIGURE) is False
        message = front.status()["message"]
        assert [word for word in [name, *words] if word not in message] == []
    finally:
        assert front.set(**{name: ""}) == []
