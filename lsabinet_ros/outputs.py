"""The publishers of one camera; an output without subscribers is neither computed nor published."""

import dataclasses
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, Header, String

from lsabinet_core.errors import LsabinetError
from lsabinet_ros import autoware, messages
from lsabinet_ros.compressed_outputs import CompressedOutput
from lsabinet_ros.latency import FrameLatency
from lsabinet_ros.published_labels import PublishedLabels

try:
    from rclpy import event_handler
except ImportError:  # Humble
    event_handler = None

RELIABLE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# The messages are small, and a plot or a recorder that is late once should not lose any.
RECORDS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE)


def copy_of(profile: QoSProfile) -> QoSProfile:
    """A copy of the profile: rclpy writes overrides into the one it is given."""
    return QoSProfile(
        history=profile.history,
        depth=profile.depth,
        reliability=profile.reliability,
        durability=profile.durability,
    )


@dataclass(frozen=True)
class Wanted:
    """The outputs that have subscribers, raw or compressed."""

    mask: bool
    autoware_mask: bool
    confidence: bool
    colour_mask: bool
    overlay: bool
    class_share: bool
    latency: bool

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))


class _ImageOutput:
    """A topic of images, and the same images compressed."""

    def __init__(self, raw: LifecyclePublisher, compressed: CompressedOutput, message: Callable[..., Image]):
        self._raw, self.compressed, self._message = raw, compressed, message

    @property
    def wanted(self) -> bool:
        return _has_subscribers(self._raw) or self.compressed.wanted

    def publish(self, pixels: np.ndarray, header: Header) -> None:
        if _has_subscribers(self._raw):
            self._raw.publish(self._message(pixels, header))
        if self.compressed.wanted:
            self.compressed.offer(pixels, header)


class Outputs:
    """The publishers whose topics share a prefix.

    Args:
        node: owns the publishers; they publish while it is active.
        prefix: prefix of the topics; ``~`` for a single camera.
        camera_info: whether there is a topic for the camera's calibration.
        on_matched: called in the executor's thread when a subscriber of an output comes or goes; None if not needed.

    Raises:
        LsabinetError: with ``on_matched``, if this ROS distribution does not report subscribers.
    """

    def __init__(
        self,
        node: LifecycleNode,
        prefix: str = "~",
        *,
        camera_info: bool = False,
        on_matched: Callable[[], None] | None = None,
    ):
        self._node = node
        self._options = {} if on_matched is None else _options_with(on_matched)
        self._publishers: list[LifecyclePublisher] = []
        try:
            self._mask = self._images(f"{prefix}/output/mask", "mono8", lossless=True)
            self._autoware_mask = self._publisher(Image, f"{prefix}/output/autoware_mask", RELIABLE)
            self._confidence = self._publisher(Image, f"{prefix}/output/confidence", RELIABLE)
            self._colour_mask = self._images(f"{prefix}/output/colour_mask", "rgb8", lossless=True)
            self._overlay = self._images(f"{prefix}/output/overlay", "rgb8", lossless=False)
            self._class_share = self._publisher(DiagnosticArray, f"{prefix}/output/class_share", RECORDS)
            self._camera_info = None
            if camera_info:
                # The name under which image_transport looks for the calibration of the images beside it.
                self._camera_info = self._publisher(CameraInfo, f"{prefix}/output/camera_info", RELIABLE)
            self._label_map = self._publisher(String, f"{prefix}/output/label_map", LATCHED)
            self._label_info = None
            if messages.LabelInfo is not None:
                self._label_info = self._publisher(messages.LabelInfo, f"{prefix}/output/label_info", LATCHED)
            self._latency = self._publisher(DiagnosticArray, f"{prefix}/debug/latency", RECORDS)
            self._processing = self._publisher(Float64, f"{prefix}/debug/processing_time_ms", RECORDS)
            self._pipeline = self._publisher(Float64, f"{prefix}/debug/pipeline_latency_ms", RECORDS)
        except Exception:
            self.destroy()
            raise

    def _publisher(self, message_type: type, topic: str, profile: QoSProfile) -> LifecyclePublisher:
        # rclpy does not annotate the type that it returns.
        publisher: Any = self._node.create_lifecycle_publisher(
            message_type,
            topic,
            copy_of(profile),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            **self._options,
        )
        self._publishers.append(publisher)
        return publisher

    def _images(self, topic: str, encoding: str, *, lossless: bool) -> _ImageOutput:
        compressed = CompressedOutput(
            self._publisher(CompressedImage, f"{topic}/compressed", RELIABLE), encoding, lossless=lossless
        )
        message = messages.grey_message if encoding == "mono8" else messages.colour_message
        return _ImageOutput(self._publisher(Image, topic, RELIABLE), compressed, message)

    @property
    def compressed(self) -> list[CompressedOutput]:
        """The outputs that a ``Compressor`` serves."""
        return [output.compressed for output in (self._mask, self._colour_mask, self._overlay)]

    def destroy(self) -> None:
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())

    def wanted(self) -> Wanted:
        """The outputs that have subscribers now."""
        return Wanted(
            mask=self._mask.wanted,
            autoware_mask=_has_subscribers(self._autoware_mask),
            confidence=_has_subscribers(self._confidence),
            colour_mask=self._colour_mask.wanted,
            overlay=self._overlay.wanted,
            class_share=_has_subscribers(self._class_share),
            latency=any(map(_has_subscribers, (self._latency, self._processing, self._pipeline))),
        )

    def publish_labels(self, labels: PublishedLabels, header: Header) -> None:
        """Publish the classes' names and colours, latched."""
        self._label_map.publish(messages.label_map_message(labels))
        if self._label_info is not None:
            self._label_info.publish(messages.label_info_message(labels, header))

    def publish_images(
        self,
        wanted: Wanted,
        mask: np.ndarray,
        confidence: np.ndarray | None,
        colour_mask: Callable[[], np.ndarray],
        overlay: Callable[[], np.ndarray],
        header: Header,
    ) -> None:
        """Publish the images that are wanted, with the frame's header.

        Args:
            mask: published ids, uint8 (H, W).
            confidence: uint8 (H, W); None if it is not wanted.
            colour_mask: returns the colours of the mask, BGR, uint8 (H, W, 3); called after the mask is published.
            overlay: returns the overlay, likewise.
        """
        if wanted.mask:
            self._mask.publish(mask, header)
        if wanted.autoware_mask:
            self._autoware_mask.publish(autoware.run_length_message(mask, header))
        if wanted.confidence and confidence is not None:
            self._confidence.publish(messages.grey_message(confidence, header))
        if wanted.colour_mask:
            self._colour_mask.publish(colour_mask(), header)
        if wanted.overlay:
            self._overlay.publish(overlay(), header)

    def publish_class_share(self, mask: np.ndarray, labels: PublishedLabels, device: str, header: Header) -> None:
        """Publish the share of each class in a mask of published ids, uint8 (H, W), with the frame's header."""
        if _has_subscribers(self._class_share):
            self._class_share.publish(messages.class_share_message(mask, labels, device, header))

    def publish_camera_info(self, info: CameraInfo, header: Header) -> None:
        """Publish the camera's calibration with the frame's header, which ``info`` gets."""
        if self._camera_info is not None and _has_subscribers(self._camera_info):
            info.header = header
            self._camera_info.publish(info)

    def publish_latency(self, latency: FrameLatency, device: str, header: Header) -> None:
        """Publish the latency record and the two times for plots; an unknown pipeline latency is not published."""
        if _has_subscribers(self._latency):
            self._latency.publish(messages.latency_message(latency, device, header))
        if _has_subscribers(self._processing):
            self._processing.publish(messages.float_message(latency.processing))
        if _has_subscribers(self._pipeline) and not math.isnan(latency.pipeline):
            self._pipeline.publish(messages.float_message(latency.pipeline))


def _options_with(on_matched: Callable[[], None]) -> dict[str, Any]:
    """Options of a publisher that calls ``on_matched`` when its subscribers change."""
    if event_handler is None or "matched" not in inspect.signature(event_handler.PublisherEventCallbacks).parameters:
        raise LsabinetError("lazy: expected ROS 2 Jazzy or newer, whose rclpy reports subscribers; set it to false")
    return {"event_callbacks": event_handler.PublisherEventCallbacks(matched=lambda status: on_matched())}


def _has_subscribers(publisher: LifecyclePublisher) -> bool:
    return publisher.get_subscription_count() > 0
