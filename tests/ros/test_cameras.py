"""Several cameras on one node over DDS share the network and form batches, and none delays another."""

import contextlib
import threading
import time

import numpy as np
import pytest
import rclpy
from node_frames import bad_frames, pixels_of, random_frame
from node_harness import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    UNCONFIGURED,
    UNLIMITED,
    Client,
    NodeProcess,
    node_here,
)

from lsabinet_core.inference.segmenter import Segmentation, Timings
from lsabinet_core.labels import CAMVID
from lsabinet_core.models.weights import WeightsMetadata
from lsabinet_ros import cameras
from lsabinet_ros import node as segmentation_node
from lsabinet_ros.mailbox import take_waiting

NAMES = ["front", "rear"]
SIZES = {"front": (72, 100), "rear": (120, 160)}


class RecordingSegmenter:
    """Labels each frame with the value of its first pixel, and records which frames arrived in one call."""

    label_set = CAMVID
    device = "cpu"
    preferred_batch = 8
    metadata = WeightsMetadata("fake", CAMVID, (90, 120), (0.4,) * 3, (0.3,) * 3)
    timings = Timings(0.1, 0.2, 0.3)

    def __init__(self):
        self.go_on = threading.Event()
        self.go_on.set()
        self.poison: int | None = None
        self.calls: list[list[int]] = []
        self.warmed: list[tuple[tuple[int, int], int]] = []

    def describe(self):
        return {"architecture": "recording", "device": "cpu", "precision": "fp32", "backend": "none"}

    def network_size(self, size):
        return 64, 96

    def warm_up(self, size, *, frames, wait):
        self.warmed.append((size, frames))

    def segment(self, frames, *, confidence):
        several = isinstance(frames, list)
        values = [int(frame[0, 0, 0]) for frame in (frames if several else [frames])]
        self.calls.append(values)
        self.go_on.wait()
        if self.poison in values:
            raise RuntimeError("poisoned")
        results = [
            Segmentation(np.full(frame.shape[:2], value, np.uint8), None, self.timings)
            for frame, value in zip(frames if several else [frames], values)
        ]
        return results if several else results[0]

    def close(self):
        pass


@pytest.fixture
def segmenter(monkeypatch):
    recording = RecordingSegmenter()
    monkeypatch.setattr(segmentation_node, "_load", lambda values: recording)
    yield recording
    recording.go_on.set()


@contextlib.contextmanager
def clients_of(where: int | rclpy.Context):
    """One client per camera with all topics matched; ``where``: see ``Client``."""
    clients = []
    try:
        for name in NAMES:
            clients.append(Client(where, name=name, beside=clients[0] if clients else None))
        for client in clients:
            client.bring_up()
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.fixture
def clients(ros_domain, segmenter):
    parameters = {**UNLIMITED, "diagnostics_period_s": 0.1, "cameras": NAMES}
    with (
        node_here(ros_domain, parameters, before_release=segmenter.go_on.set) as context,
        clients_of(context) as both,
    ):
        yield both


def plain(client: Client, name: str, value: int):
    return client.image(np.full((*SIZES[name], 3), value, np.uint8), frame_id=name)


def received(client: Client) -> int:
    return int(client.status()["frames_received"])


def send_together(clients, segmenter, messages: dict[int, object]) -> None:
    """Publish while the worker is busy with another frame, so that all messages are waiting when it is done."""
    first = clients[0]
    calls, blockers = len(segmenter.calls), []
    # Frames of one camera arrive in order, so its message is waiting once more frames were received than before.
    before = [received(client) for client in clients]
    segmenter.go_on.clear()

    def busy():
        blockers.append(first.camera.publish(plain(first, "front", 10)))
        return len(segmenter.calls) > calls

    first.until(busy, "frame in flight")
    before[0] += len(blockers)
    for index, message in messages.items():
        client = clients[index]

        def waits():
            client.camera.publish(message)
            return received(client) > before[index]

        client.until(waits, "frame that waits")
    segmenter.go_on.set()


def mask_with(client: Client, header):
    return client.until(lambda: [mask for mask in client.masks if mask.header == header], "mask")[0]


def test_frames_that_wait_together_form_a_batch(clients, segmenter):
    front, rear = clients
    messages = {0: plain(front, "front", 3), 1: plain(rear, "rear", 4)}
    send_together(clients, segmenter, messages)
    for client, name, value, message in zip(clients, NAMES, (3, 4), messages.values()):
        mask = mask_with(client, message.header)
        assert (mask.height, mask.width) == SIZES[name]
        assert set(mask.data) == {value}
        record = client.until(lambda: [r for r in client.latencies if r.header == message.header], "record")[0]
        values = {item.key: float(item.value) for item in record.status[0].values}
        assert (values["preprocess"], values["inference"], values["postprocess"]) == (0.1, 0.2, 0.3)
        stages = ("wait", "decode", "preprocess", "inference", "postprocess", "publish")
        assert values["processing"] == pytest.approx(sum(values[stage] for stage in stages), abs=0.005)
    assert [4, 3] in segmenter.calls
    # Every possible batch size was warmed up.
    assert [frames for _, frames in segmenter.warmed] == [1, 2]


def test_a_frame_waits_for_those_of_other_cameras_but_not_of_silent_ones(clients, segmenter, monkeypatch):
    front, rear = clients
    awaited = []

    def recording(mailboxes, **options):
        awaited.append({camera.name for camera in options["awaited"]})
        return take_waiting(mailboxes, **options)

    monkeypatch.setattr(cameras, "take_waiting", recording)
    assert front.set(batch_wait_ms=200.0) == []
    # The rear camera is silent: after one frame that has waited for it in vain, the others do not.
    front.until(lambda: front.camera.publish(plain(front, "front", 3)) or awaited[-1:] == [{"front"}], "no wait")

    def both():
        front.camera.publish(plain(front, "front", 3))
        rear.camera.publish(plain(rear, "rear", 4))
        return sorted(segmenter.calls[-1]) == [3, 4] and awaited[-1] == {"front", "rear"}

    front.until(both, "a batch")


def test_on_a_cpu_frames_are_segmented_one_by_one_and_no_camera_waits_longer(clients, segmenter):
    front, rear = clients
    segmenter.preferred_batch = 1
    send_together(clients, segmenter, {0: plain(front, "front", 3), 1: plain(rear, "rear", 4)})
    front.until(lambda: [3] in segmenter.calls and [4] in segmenter.calls, "both frames")
    # The frame in flight was of the front camera, whose turn comes last.
    assert segmenter.calls.index([4]) < segmenter.calls.index([3])
    assert all(len(call) == 1 for call in segmenter.calls)


def test_a_bad_frame_rejects_only_itself(clients, segmenter):
    front, rear = clients
    before = [client.frames() for client in clients]
    good = plain(rear, "rear", 5)
    send_together(clients, segmenter, {0: bad_frames(front)["short data"], 1: good})
    assert set(mask_with(rear, good.header).data) == {5}
    after = [client.frames() for client in clients]
    assert after[0]["rejected"] > before[0]["rejected"]
    assert after[1]["rejected"] == before[1]["rejected"]
    assert (front.status()["level"], rear.status()["level"]) == (1, 0)


def test_a_frame_that_fails_in_a_batch_fails_alone(clients, segmenter):
    front, rear = clients
    segmenter.poison = 7
    good = plain(rear, "rear", 6)
    send_together(clients, segmenter, {0: plain(front, "front", 7), 1: good})
    assert set(mask_with(rear, good.header).data) == {6}
    together = segmenter.calls.index([6, 7])
    assert segmenter.calls[together + 1 : together + 3] == [[6], [7]]
    # More than one if the message had to be sent again.
    assert front.frames()["failed"] >= 1
    assert rear.frames()["failed"] == 0
    assert "poisoned" in front.status()["message"]
    assert rear.status()["level"] == 0


def test_a_bug_costs_only_the_frames_in_flight(clients, monkeypatch):
    front, _rear = clients
    before = front.frames()["failed"]

    def broken(*_):
        raise ZeroDivisionError("a bug of ours")

    def failed():
        front.camera.publish(plain(front, "front", 1))
        return front.frames()["failed"] > before

    with monkeypatch.context() as patch:
        patch.setattr(cameras.Cameras, "_segment", broken)
        front.until(failed, "failure")
    assert front.status()["level"] == 2
    for client, name in zip(clients, NAMES, strict=True):
        assert client.mask_of(plain(client, name, 2))
        counts = client.frames()
        assert counts["received"] == counts["published"] + counts["dropped"] + counts["failed"]


@pytest.fixture
def node(ros_domain, weights_file):
    process = NodeProcess(
        weights=weights_file,
        backend="torch",
        threads=1,
        diagnostics_period_s=0.1,
        cameras="[front,rear]",
        **UNLIMITED,
    )
    yield process
    status = process.end() if process.process.poll() is None else process.process.returncode
    assert status == 0, process.output
    assert "Traceback" not in process.output


def test_a_camera_that_stops_delays_no_other(ros_domain, node, weights_file):
    from lsabinet_core.inference import Segmenter

    with clients_of(ros_domain) as (front, rear):
        for client in (front, rear):
            client.masks.clear()
        for seed in range(10):
            front.camera.publish(front.image(random_frame(seed, SIZES["front"]), frame_id="front"))
            rear.camera.publish(rear.image(random_frame(seed, SIZES["rear"]), frame_id="rear"))
            rear.spin(0.05)
        front.until(lambda: front.masks, "masks of the front camera")
        assert {mask.header.frame_id for mask in front.masks} == {"front"}
        assert front.set(input_timeout_s=1.0) == []

        # From here on, the front camera is silent.
        with Segmenter.from_pretrained(weights_file, device="cpu", backend="torch", threads=1) as segmenter:
            end = time.monotonic() + 2.0
            seed = 0
            while time.monotonic() < end:
                pixels = random_frame(seed, SIZES["rear"])
                message = rear.image(pixels, frame_id="rear")
                mask = rear.mask_of(message)
                assert mask.header == message.header
                assert (mask.height, mask.width) == SIZES["rear"]
                assert (pixels_of(mask) == segmenter.segment(pixels).mask).mean() > 0.999
                seed += 1
        assert seed > 2
        assert front.status()["level"] == 2
        rear.mask_of(rear.image(random_frame(0, SIZES["rear"])))
        assert rear.set(input_timeout_s=0.0) == []
        report = rear.until(lambda: rear.diagnostics, "diagnostics")[-1]
        assert [status.name for status in report.status] == [f"segmentation: health: {name}" for name in NAMES]
        for client, name in ((front, "front"), (rear, "rear")):
            counts = client.frames()
            outcomes = ("published", "dropped", "rejected", "failed", "in_flight")
            assert counts["received"] == sum(counts[outcome] for outcome in outcomes)
            assert counts["published"] > 0
            assert counts["failed"] == counts["rejected"] == 0
            assert client.status()["input_topic"] == f"/segmentation/{name}/input/image"
        # A planner that starts late receives the classes of each camera.
        assert front.latched("/segmentation/front/output/label_map") == rear.latched(
            "/segmentation/rear/output/label_map"
        )
        # The camera publishes again.
        assert front.mask_of(front.image(random_frame(1, SIZES["front"])))


def test_cameras_can_be_set_while_unconfigured_and_bad_names_are_rejected(ros_domain, weights_file):
    node = NodeProcess(weights=weights_file, backend="torch", diagnostics_period_s=0.1, cameras="[front,'a/b']")
    client = Client(ros_domain)
    try:
        assert client.change(CONFIGURE) is False
        assert client.state() == UNCONFIGURED
        message = client.status()["message"]
        assert all(word in message for word in ("cameras", "front", "a/b"))
        client.until(lambda: any("a/b" in line for line in node.lines), "log line")
        (line,) = [line for line in node.lines if "a/b" in line]
        assert line.startswith("[ERROR]")
        assert "cameras" in line
        (reason,) = client.set(cameras=["front", "front"])
        assert reason.startswith("cameras: ")
        assert client.set(cameras=["left"]) == []
        assert client.change(CONFIGURE)
        assert client.change(ACTIVATE)
        client.until(lambda: client.node.count_subscribers("/segmentation/left/input/image"), "the camera's topic")
        assert client.status()["name"] == "segmentation: health: left"
        assert "cameras" in client.set(cameras=[""])[0]
        assert client.change(DEACTIVATE)
        assert client.change(CLEANUP)
        assert client.set(cameras=[""]) == []
        client.bring_up()
        assert client.node.count_subscribers("/segmentation/left/input/image") == 0
        assert client.mask_of(client.image(random_frame(2)))
        assert node.end() == 0
    finally:
        client.close()
        if node.process.poll() is None:
            node.kill()
