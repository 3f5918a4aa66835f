"""Colour masks, compressed outputs and chosen labels: the node in this process, over DDS."""

import json
import threading

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from node_frames import pixels_of, random_frame
from node_harness import CLEANUP, CONFIGURE, DEACTIVATE, UNCONFIGURED, UNLIMITED, Client, node_here, wait_until
from pattern_segmenter import PatternSegmenter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from lsabinet_core.labels import CAMVID
from lsabinet_ros import compressed_outputs
from lsabinet_ros import node as segmentation_node
from lsabinet_ros.autoware import run_length_message
from lsabinet_ros.conversions import compressed_to_array

COLORS = np.zeros((256, 3), np.uint8)
COLORS[: len(CAMVID)] = CAMVID.colors


@pytest.fixture(scope="module")
def client(module_ros_domain):
    with pytest.MonkeyPatch.context() as patch:
        segmenter = PatternSegmenter()
        patch.setattr(segmentation_node, "_load", lambda values: segmenter)
        parameters = {**UNLIMITED, "diagnostics_period_s": 0.1}
        with node_here(module_ros_domain, parameters, before_release=segmenter.go_on.set) as context:
            client = Client(context)
            yield client
            client.close()


def frame_of_classes(size=(72, 100)) -> np.ndarray:
    """Blue, the class, is 0 to 11 in blocks; 11 is no class."""
    frame = random_frame(3, size)
    frame[..., 0] = cv2.resize(random_frame(4, (6, 10))[..., 0] % 12, size[::-1], interpolation=cv2.INTER_NEAREST)
    return frame


def receive(client, topics, frame) -> dict:
    """The messages on these topics of one frame."""
    messages = {topic: [] for topic in topics}
    kinds = {topic: CompressedImage if topic.endswith("compressed") else Image for topic in topics}
    kinds |= {topic: DiagnosticArray for topic in topics if topic == "class_share"}
    subscriptions = [
        client.subscribe(kinds[topic], f"/segmentation/output/{topic}", into.append) for topic, into in messages.items()
    ]
    try:
        image = client.image(frame)

        def complete():
            found = {t: m for t, into in messages.items() for m in into if m.header == image.header}
            if len(found) < len(topics):
                client.camera.publish(image)
                client.spin(0.2)
            return found if len(found) == len(topics) else None

        return client.until(complete, f"messages on {', '.join(topics)}")
    finally:
        for subscription in subscriptions:
            client.node.destroy_subscription(subscription)


def test_colour_mask_and_compressed_outputs_are_those_of_the_mask(client):
    client.bring_up()
    frame = frame_of_classes()
    topics = [
        "mask",
        "autoware_mask",
        "class_share",
        "colour_mask",
        "overlay",
        "mask/compressed",
        "colour_mask/compressed",
        "overlay/compressed",
    ]
    found = receive(client, topics, frame)
    assert found["colour_mask"].encoding == "rgb8"
    expected = COLORS[frame[..., 0]]
    np.testing.assert_array_equal(pixels_of(found["mask"]), frame[..., 0])
    assert found["autoware_mask"].data == run_length_message(frame[..., 0], found["mask"].header).data
    np.testing.assert_array_equal(pixels_of(found["colour_mask"], channels=3), expected)
    shares = [float(item.value) for item in found["class_share"].status[0].values]
    counts = [np.count_nonzero(frame[..., 0] == index) for index in range(len(CAMVID))]
    np.testing.assert_allclose(shares, [*(count / frame[..., 0].size for count in counts), 0], atol=1e-6)

    formats = {topic: message.format for topic, message in found.items() if topic.endswith("compressed")}
    assert formats == {
        "mask/compressed": "mono8; png compressed ",
        "colour_mask/compressed": "rgb8; png compressed bgr8",
        "overlay/compressed": "rgb8; jpeg compressed bgr8",
    }
    data = {topic: np.frombuffer(found[topic].data, np.uint8) for topic in formats}
    mask = cv2.imdecode(data["mask/compressed"], cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, frame[..., 0])
    colours = cv2.imdecode(data["colour_mask/compressed"], cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(colours[..., ::-1], expected)
    overlay = pixels_of(found["overlay"], channels=3).astype(int)
    assert np.abs(overlay - (frame[..., ::-1] / 2 + expected / 2)).max() <= 1
    encoded = compressed_to_array(found["overlay/compressed"])[..., ::-1].astype(int)
    # The frame is noise, which JPEG compresses badly.
    assert encoded.shape == overlay.shape
    assert np.abs(encoded.mean((0, 1)) - overlay.mean((0, 1))).max() < 3


def test_percentiles_of_every_stage_are_reported(client):
    client.bring_up()
    client.mask_of(client.image(frame_of_classes()))
    status = client.status()
    # The stand-in for the network says that these take as long for every frame.
    assert [status[f"{stage}_p{p}_ms"] for stage in ("preprocess", "postprocess") for p in (50, 95, 99)] == [
        "0.5",
        "0.5",
        "0.5",
        "0.2",
        "0.2",
        "0.2",
    ]
    assert float(status["processing_p50_ms"]) <= float(status["processing_p99_ms"])


def test_a_compressed_output_alone_is_computed_and_others_are_not(client):
    client.bring_up()
    before = client.status()
    found = receive(client, ["mask/compressed"], frame_of_classes())
    assert found["mask/compressed"].header.frame_id == "front"
    after = client.until(
        lambda: (s := client.status())["compressed_published"] != before["compressed_published"] and s, "count"
    )
    published = int(after["compressed_published"])
    # Without a subscriber, nothing is compressed any more.
    client.mask_of(client.image(frame_of_classes()))
    client.mask_of(client.image(frame_of_classes()))
    assert int(client.status()["compressed_published"]) == published


def test_compression_that_hangs_delays_no_mask_and_drops_are_counted(client, monkeypatch):
    client.bring_up()
    encode, entered, go_on = cv2.imencode, threading.Event(), threading.Event()

    def hang(*arguments):
        entered.set()
        go_on.wait()
        return encode(*arguments)

    compressed = []
    subscription = client.subscribe(CompressedImage, "/segmentation/output/mask/compressed", compressed.append)
    before = int(client.status()["compressed_dropped"])
    try:
        with monkeypatch.context() as patch:
            patch.setattr(compressed_outputs.cv2, "imencode", hang)

            def send():
                client.camera.publish(client.image(frame_of_classes()))
                client.spin(0.1)

            wait_until(entered.is_set, "compression", send)
            last = [client.image(frame_of_classes()) for _ in range(3)]
            for message in last:
                assert client.mask_of(message)
            assert int(client.status()["compressed_dropped"]) >= before + 2
            go_on.set()
            # The newest one is compressed after the one that hung.
            client.until(lambda: any(m.header == last[-1].header for m in compressed), "compressed mask")
        assert not any(m.header == last[0].header for m in compressed)
    finally:
        go_on.set()
        client.node.destroy_subscription(subscription)


def test_an_image_that_cannot_be_compressed_is_counted_and_the_next_is_published(client, monkeypatch):
    client.bring_up()
    with monkeypatch.context() as patch:
        patch.setattr(compressed_outputs.cv2, "imencode", lambda *_: 1 / 0)
        subscription = client.subscribe(CompressedImage, "/segmentation/output/mask/compressed", lambda _: None)

        def failed():
            client.mask_of(client.image(frame_of_classes()))
            return int(client.status()["compressed_failed"]) > 0

        client.until(failed, "failure")
        client.node.destroy_subscription(subscription)
    assert receive(client, ["mask/compressed"], frame_of_classes())


def test_chosen_labels_are_published_everywhere(client):
    client.bring_up()
    assert client.change(DEACTIVATE)
    assert client.change(CLEANUP)
    assert client.set(label_remap="Road=1,Pavement=1,Car=7,*=255", palette="Car=#ff0102") == []
    try:
        client.bring_up()
        (reason,) = client.set(label_remap="")
        assert "label_remap" in reason
        frame = frame_of_classes()
        classes = frame[..., 0]
        found = receive(client, ["mask", "colour_mask", "overlay"], frame)
        expected = np.full(classes.shape, 255, np.uint8)
        expected[(classes == 3) | (classes == 4)] = 1
        expected[classes == 8] = 7
        assert set(np.unique(expected)) == {1, 7, 255}
        np.testing.assert_array_equal(pixels_of(found["mask"]), expected)
        colors = np.zeros((256, 3), np.uint8)
        colors[[1, 7]] = CAMVID.colors[3], (255, 1, 2)
        np.testing.assert_array_equal(pixels_of(found["colour_mask"], channels=3), colors[expected])
        overlay = pixels_of(found["overlay"], channels=3).astype(int)
        assert np.abs(overlay - (frame[..., ::-1] / 2 + colors[expected] / 2)).max() <= 1
        assert json.loads(client.latched("/segmentation/output/label_map"))["classes"] == [
            {"id": 1, "name": "Road+Pavement", "color": list(CAMVID.colors[3])},
            {"id": 7, "name": "Car", "color": [255, 1, 2]},
        ]
    finally:
        client.change(DEACTIVATE)
        client.change(CLEANUP)
        assert client.set(label_remap="", palette="") == []


def test_without_a_folder_for_them_there_are_no_snapshots(client):
    client.bring_up()
    service = client.node.create_client(Trigger, "/segmentation/save_snapshot")
    answer = client._call(service, Trigger.Request(), resend_s=3.0)
    assert not answer.success
    assert "snapshot_directory" in answer.message
    client.node.destroy_client(service)


@pytest.mark.parametrize(
    ("name", "value", "words"), [("label_remap", "Rod=1", ["'Rod'", "3 Road"]), ("palette", "Road=red", ["'Road=red'"])]
)
def test_bad_labels_fail_configure(client, name, value, words):
    if client.state() != UNCONFIGURED:
        client.change(DEACTIVATE)
        assert client.change(CLEANUP)
    assert client.set(**{name: value}) == []
    try:
        assert client.change(CONFIGURE) is False
        message = client.status()["message"]
        assert [word for word in [name, *words] if word not in message] == []
    finally:
        assert client.set(**{name: ""}) == []
