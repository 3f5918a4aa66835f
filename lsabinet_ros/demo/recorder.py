"""A ROS node that drives the segmentation node's lifecycle and records what it publishes."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from lsabinet_core.cli.image_files import OverlayVideo
from lsabinet_core.errors import FrameError, LsabinetError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.inference.overlay import blend
from lsabinet_core.labels import LabelSet
from lsabinet_ros import transport
from lsabinet_ros.conversions import compressed_to_array, image_to_array
from lsabinet_ros.messages import LATENCY_STATUS, stamp_ns

NODE = "/segmentation"
KEPT = 90
"""Frames and labels that wait for their mask; a mask comes well within as many frames."""

RELIABLE = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
LIVE = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=rclpy.qos.DurabilityPolicy.TRANSIENT_LOCAL
)


@dataclass
class Record:
    """What was seen.

    Attributes:
        frames_seen: frames that reached the recorder.
        masks: masks received, and ``duplicates`` of them for a frame that had one already.
        compared: masks that were compared with a label.
        latencies: of each mask, in order: seconds since the first, and milliseconds by stage.
        counts: the node's own counters, from its last diagnostics.
        device: where the node ran.
        backend: the engine that it ran the network with.
        precision: the engine's arithmetic.
        label_set: the node's classes; None until it said so.
        confusion: of all compared masks; None without labels.
        seconds: from the first frame's arrival to the last mask's.
        player: the player's own report.
        node_exit_status: of the node's process after SIGINT.
    """

    frames_seen: int = 0
    masks: int = 0
    duplicates: int = 0
    compared: int = 0
    latencies: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    device: str = ""
    backend: str = ""
    precision: str = ""
    label_set: LabelSet | None = None
    confusion: ConfusionMatrix | None = None
    seconds: float = 0.0
    player: dict | None = None
    node_exit_status: int | None = None


class Recorder:
    """Context manager: subscribes to the node's outputs and to the frames (and labels) that go into it.

    Args:
        image_topic: what the node segments, sensor_msgs/Image or CompressedImage.
        label_topic: sensor_msgs/Image mono8 with the frames' stamps; None without labels.
        compressed: the images are CompressedImage.
        live: a camera publishes the images, perhaps best effort; not our player, which is reliable.
        video: where to write the annotated video; None writes none.
        fps: of the video.
    """

    def __init__(
        self,
        image_topic: str,
        label_topic: str | None,
        *,
        compressed: bool,
        live: bool,
        video: Path | None,
        fps: float,
    ):
        self.record = Record()
        self.watch: Callable[[], None] = lambda: None
        self._compressed = compressed
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()
        self._labels: OrderedDict[int, np.ndarray] = OrderedDict()
        self._masked: set[int] = set()
        self._unlabelled_masks: OrderedDict[int, np.ndarray] = OrderedDict()
        self._first: float | None = None
        self._written: int | None = None
        self._fps = fps
        self._reports = 0
        self._health: str | None = None
        self._video = None if video is None else OverlayVideo(video, fps)
        transport.prepare()
        self._context = rclpy.context.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("demo_recorder", context=self._context, use_global_arguments=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        # Only a best-effort subscription matches a best-effort publisher.
        image_qos = LIVE if live else RELIABLE
        image_type = CompressedImage if compressed else Image
        self._node.create_subscription(image_type, image_topic, self._on_image, image_qos)
        if label_topic:
            self._node.create_subscription(Image, label_topic, self._on_label, RELIABLE)
        self._node.create_subscription(Image, f"{NODE}/output/mask", self._on_mask, RELIABLE)
        self._node.create_subscription(DiagnosticArray, f"{NODE}/debug/latency", self._on_latency, RELIABLE)
        self._node.create_subscription(String, f"{NODE}/output/label_map", self._on_label_map, LATCHED)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._change_state = self._node.create_client(ChangeState, f"{NODE}/change_state")
        self._get_state = self._node.create_client(GetState, f"{NODE}/get_state")

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error) -> None:
        if self._video is not None:
            self._video.__exit__(*error)
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    # Driving.

    def configure(self, start_timeout_s: float, configure_timeout_s: float) -> None:
        """Configure and activate the node. Raises LsabinetError where it does not appear or does not get there."""
        self.spin_until(self._change_state.service_is_ready, start_timeout_s, "the node does not appear on the graph")
        for transition, wanted in (
            (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
            (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            self._call(self._change_state, request, configure_timeout_s)
            state = self._call(self._get_state, GetState.Request(), start_timeout_s).current_state
            if state.id != wanted:
                raise LsabinetError(f"the node stays {state.label}: {self._reason()}")
        self.spin_until(lambda: self.record.label_set is not None, start_timeout_s, "the node publishes no label map")

    def _reason(self) -> str:
        """What the node's health says since the last transition."""
        self._health = None
        self.spin_until(lambda: self._health is not None, 5.0, "the node publishes no diagnostics")
        return self._health

    def stop_input(self) -> None:
        """Deactivate the node while its camera goes on; the frame in work is finished first."""
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
        self._call(self._change_state, request, 10.0)

    def end_of_input(self) -> None:
        """No more frames come: ``drained`` asks for diagnostics from now on."""
        self._reports = 0

    def drained(self) -> bool:
        """Whether the node has nothing left to do, and all that it published has arrived here."""
        if self._reports < 2:
            # The first may have been under way when the last frame arrived.
            return False
        counts = self.record.counts
        idle = not counts.get("frames_in_flight", 1) and not counts.get("frames_waiting", 1)
        published = counts.get("frames_published", -1)
        return idle and self.record.masks >= published and len(self.record.latencies) >= published

    def finish(self) -> None:
        """Complete the video."""
        if self._video is not None:
            self._video.__exit__(None, None, None)
            self._video = None

    def spin_until(self, condition: Callable[[], bool], timeout_s: float, problem: str) -> None:
        """Serve the graph until ``condition`` holds. Raises LsabinetError(problem) after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.watch()
            if time.monotonic() > deadline:
                raise LsabinetError(f"{problem} within {timeout_s:g} s")
            self._executor.spin_once(timeout_sec=0.05)

    def spin_for(self, seconds: float) -> None:
        """Serve the graph for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.watch()
            self._executor.spin_once(timeout_sec=0.05)

    def _call(self, client, request, timeout_s: float):
        future = client.call_async(request)
        self.spin_until(future.done, timeout_s, f"{client.srv_name} does not answer")
        return future.result()

    # Recording.

    def _on_image(self, message: Image | CompressedImage) -> None:
        self.record.frames_seen += 1
        self._first = self._first or time.monotonic()
        if self._video is None:
            return
        try:
            frame = compressed_to_array(message) if self._compressed else image_to_array(message)
        except FrameError:
            return
        _keep(self._frames, stamp_ns(message.header), frame)

    def _on_label(self, message: Image) -> None:
        stamp = stamp_ns(message.header)
        _keep(self._labels, stamp, _plane(message))
        if stamp in self._unlabelled_masks:
            self._compare(stamp, self._unlabelled_masks.pop(stamp))

    def _on_mask(self, message: Image) -> None:
        stamp = stamp_ns(message.header)
        record = self.record
        record.masks += 1
        record.duplicates += stamp in self._masked
        self._masked.add(stamp)
        if self._first is not None:
            record.seconds = time.monotonic() - self._first
        mask = _plane(message)
        if stamp in self._labels:
            self._compare(stamp, mask)
        else:
            _keep(self._unlabelled_masks, stamp, mask)
        frame = self._frames.pop(stamp, None)
        if frame is not None and self._video is not None and record.label_set is not None:
            self._write(stamp, self._annotate(frame, mask))

    def _write(self, stamp: int, picture: np.ndarray) -> None:
        """Append to the video as often as the time since the last mask asks for: it plays at the drive's speed."""
        previous, self._written = self._written, stamp
        times = 1 if previous is None else max(1, round((stamp - previous) / 1e9 * self._fps))
        for _ in range(min(times, KEPT)):
            self._video.write(picture)

    def _compare(self, stamp: int, mask: np.ndarray) -> None:
        label = self._labels.pop(stamp)
        if self.record.label_set is None or mask.shape != label.shape:
            return
        if self.record.confusion is None:
            self.record.confusion = ConfusionMatrix(len(self.record.label_set))
        self.record.confusion.update(mask, label)
        self.record.compared += 1

    def _on_latency(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == LATENCY_STATUS:
                stages = {item.key: float(item.value) for item in status.values}
                self.record.latencies.append((time.monotonic() - (self._first or time.monotonic()), stages))
                self.record.device = status.hardware_id

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(f"{NODE.lstrip('/')}:"):
                continue
            self._health = status.message
            values = {item.key: item.value for item in status.values}
            if "frames_received" in values:
                self._reports += 1
                self.record.counts = {key: int(text) for key, text in values.items() if key.startswith("frames_")}
                self.record.backend, self.record.precision = values["backend"], values["precision"]

    def _on_label_map(self, message: String) -> None:
        document = json.loads(message.data)
        classes = sorted(document["classes"], key=lambda entry: entry["id"])
        self.record.label_set = LabelSet(
            document["label_set"],
            tuple(entry["name"] for entry in classes),
            tuple(tuple(entry["color"]) for entry in classes),
        )

    def _annotate(self, frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
        picture = blend(frame, mask, self.record.label_set)
        if self.record.latencies:
            stages = self.record.latencies[-1][1]
            text = f"inference {stages['inference']:.0f} ms, processing {stages['processing']:.0f} ms"
            picture[:26] //= 3
            cv2.putText(picture, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        return picture


def _keep(store: OrderedDict[int, np.ndarray], stamp: int, array: np.ndarray) -> None:
    store[stamp] = array
    while len(store) > KEPT:
        store.popitem(last=False)


def _plane(message: Image) -> np.ndarray:
    """uint8 (H, W) of a mono8 image, a copy without padding."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width].copy()
