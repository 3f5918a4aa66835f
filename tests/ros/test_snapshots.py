"""The service ~/save_snapshot: the node in this process, over DDS."""

import json
import os

import cv2
import numpy as np
import pytest
import yaml
from node_frames import pixels_of, random_frame
from node_harness import ACTIVE, CLEANUP, DEACTIVATE, UNLIMITED, Client, node_here
from pattern_segmenter import PatternSegmenter
from std_srvs.srv import Trigger

from lsabinet_core.inference.overlay import blend
from lsabinet_core.labels import CAMVID
from lsabinet_ros import node as segmentation_node
from lsabinet_ros import snapshot_service
from lsabinet_ros.latency import STAGES
from lsabinet_ros.parameters import SETTINGS

ALPHA = 0.25


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("snapshots") / "new" / "folder"


@pytest.fixture(scope="module")
def clients(module_ros_domain, directory):
    with pytest.MonkeyPatch.context() as patch:
        segmenter = PatternSegmenter()
        patch.setattr(segmentation_node, "_load", lambda values: segmenter)
        parameters = {"cameras": ["front", "rear"], "snapshot_directory": str(directory), "overlay_alpha": ALPHA}
        with node_here(
            module_ros_domain,
            {**UNLIMITED, "diagnostics_period_s": 0.1, **parameters},
            before_release=segmenter.go_on.set,
        ) as context:
            front = Client(context, name="front")
            rear = Client(context, name="rear", beside=front)
            yield front, rear
            front.close()


@pytest.fixture
def call(clients):
    """Call the service, while the given images are published again and again."""
    front, _ = clients
    service = front.node.create_client(Trigger, "/segmentation/save_snapshot")

    def request(images: dict) -> Trigger.Response:
        front.until(service.service_is_ready, "service")
        # So that the service has discovered this client, and its answer is not lost.
        front.spin(0.3)
        future = service.call_async(Trigger.Request())

        def answer():
            for client, image in images.items():
                client.camera.publish(image)
            front.spin(0.05)
            return future.result() if future.done() else None

        return front.until(answer, "answer")

    yield request
    front.node.destroy_client(service)


def test_a_snapshot_has_the_frame_its_results_and_the_parameters(clients, call, directory):
    front, rear = clients
    for client in clients:
        client.bring_up()
    frames = {front: random_frame(1, (64, 96)), rear: random_frame(2, (48, 80))}
    images = {client: client.image(frame, frame_id=client._name) for client, frame in frames.items()}
    answer = call(images)
    assert answer.success, answer.message
    (folder,) = directory.iterdir()
    assert answer.message == str(folder)
    assert sorted(os.listdir(folder)) == ["front", "parameters.yaml", "rear"]
    for client, frame in frames.items():
        own = folder / client._name
        assert sorted(os.listdir(own)) == ["frame.png", "latency.json", "mask.png", "overlay.png"]
        names = ("frame", "mask", "overlay")
        read = {name: cv2.imread(str(own / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in names}
        np.testing.assert_array_equal(read["frame"], frame)
        np.testing.assert_array_equal(read["mask"], frame[..., 0])
        np.testing.assert_array_equal(read["overlay"], blend(frame, frame[..., 0], CAMVID, ALPHA))
        record = json.loads((own / "latency.json").read_text())
        assert record["frame_id"] == client._name
        assert record["stamp"]["sec"] == images[client].header.stamp.sec
        assert list(record["latency_ms"]) == [*STAGES, "processing", "pipeline"]
        # The stamp is of another epoch.
        assert record["latency_ms"]["pipeline"] is None
        assert record["latency_ms"]["processing"] > 0

    values = yaml.safe_load((folder / "parameters.yaml").read_text())["/**"]["ros__parameters"]
    assert {setting.name for setting in SETTINGS} <= set(values)
    assert (values["overlay_alpha"], values["cameras"]) == (ALPHA, ["front", "rear"])
    assert values["front.max_rate_hz"] == 0.0
    # The node goes on.
    mask = front.mask_of(front.image(frames[front]))
    np.testing.assert_array_equal(pixels_of(mask), frames[front][..., 0])


def test_a_silent_camera_is_named_and_without_any_image_there_is_no_snapshot(clients, call, directory, monkeypatch):
    front, rear = clients
    monkeypatch.setattr(snapshot_service, "FRAME_TIMEOUT_S", 0.3)
    for client in clients:
        client.bring_up()
    existing = set(directory.parent.rglob("*"))
    answer = call({front: front.image(random_frame(3, (64, 96)))})
    assert answer.success
    assert "rear" in answer.message
    (new,) = [path for path in set(directory.parent.rglob("*")) - existing if path.parent == directory]
    assert sorted(os.listdir(new)) == ["front", "parameters.yaml"]

    answer = call({})
    assert not answer.success
    assert "no image" in answer.message
    # A request that nobody waits for any more does no harm.
    assert rear.mask_of(rear.image(random_frame(4, (64, 96))))


def test_frames_are_segmented_for_a_snapshot_even_without_a_subscriber(clients, call, directory):
    front, _ = clients
    for client in clients:
        client.bring_up()
    removed = [s for s in front.node.subscriptions if "/output/" in s.topic_name or "/debug/" in s.topic_name]
    topics = [(s.msg_type, s.topic_name, s.callback) for s in removed]
    for subscription in removed:
        front.node.destroy_subscription(subscription)
    try:
        front.until(lambda: front.node.count_subscribers("/segmentation/front/output/mask") == 0, "no subscriber")
        answer = call({client: client.image(random_frame(5, (64, 96))) for client in clients})
        assert answer.success
        assert not answer.message.endswith("segmented")
    finally:
        for kind, topic, callback in topics:
            front.subscribe(kind, topic, callback)


def test_a_folder_that_cannot_be_written_is_named(clients, call, directory):
    for client in clients:
        client.bring_up()
    for path in sorted(directory.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.touch()
    try:
        answer = call({client: client.image(random_frame(6, (64, 96))) for client in clients})
        assert not answer.success
        assert str(directory) in answer.message
        assert "\n" not in answer.message
    finally:
        directory.unlink()


def test_an_unexpected_error_does_not_end_the_node(clients, call, monkeypatch):
    for client in clients:
        client.bring_up()
    monkeypatch.setattr(snapshot_service, "save", lambda *_: 1 / 0)
    answer = call({client: client.image(random_frame(7, (64, 96))) for client in clients})
    assert not answer.success
    assert "ZeroDivisionError" in answer.message
    assert clients[0].state() == ACTIVE


def test_a_node_that_is_not_active_saves_nothing(clients, call):
    front, _ = clients
    if front.state() == ACTIVE:
        assert front.change(DEACTIVATE)
    answer = call({})
    assert not answer.success
    assert "active" in answer.message
    assert front.change(CLEANUP)
    assert not call({}).success
