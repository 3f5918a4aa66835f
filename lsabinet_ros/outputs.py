"""One camera's publishers: what has subscribers is built and published, the rest costs nothing."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String

from lsabinet_core.labels import LabelSet
from lsabinet_ros import messages
from lsabinet_ros.latency import FrameLatency

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation

RELIABLE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# Small messages: a plot or a recorder that is late once must not lose the record.
RECORDS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE)


def copy_of(profile: QoSProfile) -> QoSProfile:
    """A profile of its own: rclpy writes overrides into the one it is given."""
    return QoSProfile(
        history=profile.history,
        depth=profile.depth,
        reliability=profile.reliability,
        durability=profile.durability,
    )


@dataclass(frozen=True)
class Wanted:
    """Which outputs have subscribers."""

    mask: bool
    confidence: bool
    overlay: bool
    figures: bool

    def __bool__(self) -> bool:
        return self.mask or self.confidence or self.overlay or self.figures


class Outputs:
    """The publishers under one name.

    Args:
        node: owns the publishers; they publish while it is active.
        prefix: of the topics, ``~`` for a single camera.
    """

    def __init__(self, node: LifecycleNode, prefix: str = "~"):
        self._node = node
        self._publishers = []
        try:
            self._mask = self._publisher(Image, f"{prefix}/output/mask", RELIABLE)
            self._confidence = self._publisher(Image, f"{prefix}/output/confidence", RELIABLE)
            self._overlay = self._publisher(Image, f"{prefix}/output/overlay", RELIABLE)
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

    def _publisher(self, message_type, topic: str, profile: QoSProfile):
        publisher = self._node.create_lifecycle_publisher(
            message_type,
            topic,
            copy_of(profile),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())

    def wanted(self) -> Wanted:
        """Which outputs have subscribers now."""
        return Wanted(
            mask=_has_subscribers(self._mask),
            confidence=_has_subscribers(self._confidence),
            overlay=_has_subscribers(self._overlay),
            figures=any(map(_has_subscribers, (self._latency, self._processing, self._pipeline))),
        )

    def publish_labels(self, label_set: LabelSet, header: Header) -> None:
        """Publish the latched description of the classes."""
        self._label_map.publish(messages.label_map_message(label_set))
        if self._label_info is not None:
            self._label_info.publish(messages.label_info_message(label_set, header))

    def publish_images(
        self,
        wanted: Wanted,
        result: "Segmentation",
        overlay: Callable[[], np.ndarray],
        header: Header,
    ) -> None:
        """Publish the wanted of mask, confidence and overlay, all with the frame's header.

        Args:
            overlay: makes it, BGR uint8 (H, W, 3); called once the mask is out.
        """
        if wanted.mask:
            self._mask.publish(messages.mask_message(result.mask, header))
        if wanted.confidence:
            self._confidence.publish(messages.confidence_message(result.confidence, header))
        if wanted.overlay:
            self._overlay.publish(messages.overlay_message(overlay(), header))

    def publish_figures(self, latency: FrameLatency, device: str, header: Header) -> None:
        """Publish the latency record and the two numbers for plots; an unknown pipeline latency is not plotted."""
        if _has_subscribers(self._latency):
            self._latency.publish(messages.latency_message(latency, device, header))
        if _has_subscribers(self._processing):
            self._processing.publish(messages.float_message(latency.processing))
        if _has_subscribers(self._pipeline) and not math.isnan(latency.pipeline):
            self._pipeline.publish(messages.float_message(latency.pipeline))


def _has_subscribers(publisher) -> bool:
    return publisher.get_subscription_count() > 0
