"""A ROS node that drives the segmentation node's lifecycle and records what it publishes."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_core.cli.overlay_video import OverlayVideo
from lsabinet_core.errors import FrameError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.inference.overlay import blend
from lsabinet_core.labels import LabelSet
from lsabinet_ros.conversions import compressed_to_array, image_to_array
from lsabinet_ros.latency import LATENCY_STATUS, header_stamp_ns
from lsabinet_ros.node_driver import NODE, NodeDriver, NodeState

MAX_WAITING = 90
"""Maximum number of frames, labels and masks that wait for a counterpart with the same stamp."""

RELIABLE = QoSProfile(depth=30, reliability=ReliabilityPolicy.RELIABLE)
LIVE = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass
class Record:
    """What the recorder has received.

    Attributes:
        frames_seen: number of frames.
        masks: number of masks.
        duplicates: number of masks for a frame that already had one.
        compared: number of masks that were compared with a label.
        latencies: for each mask, seconds since the first frame and milliseconds by stage.
        node: what the node has reported.
        device: device of the node.
        confusion: confusion matrix of all compared masks; None without labels.
        seconds: time from the arrival of the first frame to that of the last mask.
        player: the report of the player.
        node_exit_status: exit status of the node's process after SIGINT.
    """

    frames_seen: int = 0
    masks: int = 0
    duplicates: int = 0
    compared: int = 0
    latencies: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    node: NodeState = field(default_factory=NodeState)
    device: str = ""
    confusion: ConfusionMatrix | None = None
    seconds: float = 0.0
    player: dict | None = None
    node_exit_status: int | None = None


class Recorder(NodeDriver):
    """Context manager that subscribes to the node's outputs and to its input: the frames and their labels.

    Args:
        image_topic: input of the node, sensor_msgs/Image or CompressedImage.
        label_topic: labels as sensor_msgs/Image, mono8, with the stamps of the frames; None without labels.
        compressed: whether the images are CompressedImage.
        live: whether the images come from a camera, possibly best effort, rather than from our reliable player.
        video: path of the annotated video; None writes none.
        fps: frame rate of the video.
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
        super().__init__("demo_recorder")
        self.record = Record(node=self.state)
        self._frames: OrderedDict[int, np.ndarray] = OrderedDict()
        self._labels: OrderedDict[int, np.ndarray] = OrderedDict()
        self._masked: set[int] = set()
        self._unlabelled_masks: OrderedDict[int, np.ndarray] = OrderedDict()
        self._first: float | None = None
        self._written: int | None = None
        self._fps = fps
        self._video = None if video is None else OverlayVideo(video, fps)
        # A reliable subscription would not match a best-effort publisher.
        image_qos = LIVE if live else RELIABLE
        image_type = CompressedImage if compressed else Image
        self.node.create_subscription(image_type, image_topic, self._on_image, image_qos)
        if label_topic:
            self.node.create_subscription(Image, label_topic, self._on_label, RELIABLE)
        self.node.create_subscription(Image, f"{NODE}/output/mask", self._on_mask, RELIABLE)
        self.node.create_subscription(DiagnosticArray, f"{NODE}/debug/latency", self._on_latency, RELIABLE)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._video is not None:
            self._video.__exit__(*error)
        super().__exit__(*error)

    def finish(self) -> None:
        """Finish the video file."""
        if self._video is not None:
            self._video.__exit__(None, None, None)
            self._video = None

    def drained(self) -> bool:
        """Whether the node has processed all frames, and everything that it has published has arrived."""
        published = self.state.counts.get("frames_published", -1)
        return self.is_idle() and self.record.masks >= published and len(self.record.latencies) >= published

    # Recording.

    def _on_image(self, message: Image | CompressedImage) -> None:
        self.record.frames_seen += 1
        self._first = self._first or time.monotonic()
        if self._video is None:
            return
        try:
            frame = compressed_to_array(message) if isinstance(message, CompressedImage) else image_to_array(message)
        except FrameError:
            return
        _keep(self._frames, header_stamp_ns(message.header), frame)

    def _on_label(self, message: Image) -> None:
        stamp = header_stamp_ns(message.header)
        _keep(self._labels, stamp, _plane(message))
        if stamp in self._unlabelled_masks:
            self._compare(stamp, self._unlabelled_masks.pop(stamp))

    def _on_mask(self, message: Image) -> None:
        stamp = header_stamp_ns(message.header)
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
        if frame is not None and self._video is not None and record.node.label_set is not None:
            self._write(self._video, stamp, self._annotate(frame, mask, record.node.label_set))

    def _write(self, video: OverlayVideo, stamp: int, image: np.ndarray) -> None:
        """Append an image to the video as often as needed to keep the drive's speed since the previous mask."""
        previous, self._written = self._written, stamp
        times = 1 if previous is None else max(1, round((stamp - previous) / 1e9 * self._fps))
        for _ in range(min(times, MAX_WAITING)):
            video.write(image)

    def _compare(self, stamp: int, mask: np.ndarray) -> None:
        label = self._labels.pop(stamp)
        if self.record.node.label_set is None or mask.shape != label.shape:
            return
        if self.record.confusion is None:
            self.record.confusion = ConfusionMatrix(len(self.record.node.label_set))
        self.record.confusion.update(mask, label)
        self.record.compared += 1

    def _on_latency(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == LATENCY_STATUS:
                stages = {item.key: float(item.value) for item in status.values}
                self.record.latencies.append((time.monotonic() - (self._first or time.monotonic()), stages))
                self.record.device = status.hardware_id

    def _annotate(self, frame: np.ndarray, mask: np.ndarray, label_set: LabelSet) -> np.ndarray:
        image = blend(frame, mask, label_set)
        if self.record.latencies:
            stages = self.record.latencies[-1][1]
            text = f"inference {stages['inference']:.0f} ms, processing {stages['processing']:.0f} ms"
            image[:26] //= 3
            cv2.putText(image, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        return image


def _keep(store: OrderedDict[int, np.ndarray], stamp: int, array: np.ndarray) -> None:
    store[stamp] = array
    while len(store) > MAX_WAITING:
        store.popitem(last=False)


def _plane(message: Image) -> np.ndarray:
    """The pixels of a mono8 image as uint8 (H, W), copied without padding."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width].copy()
