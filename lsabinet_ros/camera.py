"""One camera: its subscription, newest-frame slot, outputs and health."""

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import compressed_to_array, image_to_array
from lsabinet_ros.core_log import on_one_line
from lsabinet_ros.diagnostics import Rates
from lsabinet_ros.latency import FrameLatency, frame_age_s
from lsabinet_ros.mailbox import FrameCounts, Mailbox, Outcome
from lsabinet_ros.messages import stamp_ns
from lsabinet_ros.outputs import Outputs, Wanted
from lsabinet_ros.throttle import Throttle
from lsabinet_ros.watchdog import Watchdog

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation, Segmenter


@dataclass(frozen=True)
class ReceivedFrame:
    """A message and the moment, in seconds of ``time.perf_counter``, when its callback began."""

    message: Image | CompressedImage
    received_s: float


@dataclass(frozen=True)
class DecodedFrame:
    """A frame ready for the network.

    Attributes:
        received: as it came.
        wanted: the outputs that had subscribers when it was taken.
        pixels: BGR uint8 (H, W, 3).
        decode_s: how long it took to get them.
    """

    received: ReceivedFrame
    wanted: Wanted
    pixels: np.ndarray
    decode_s: float


class Camera:
    """From image messages to published masks; ``Cameras`` puts the network between the two.

    Args:
        node: whose topics, clock, logger and parameter ``overlay_alpha`` are used.
        segmenter: what the frames are segmented with.
        compressed: subscribe to CompressedImage instead of Image.
        name: the topics are under ``~/name``; empty for the only camera, whose topics are under ``~``.
    """

    def __init__(self, node: LifecycleNode, segmenter: "Segmenter", *, compressed: bool, name: str = ""):
        self.name = name
        self.watchdog = Watchdog()
        self.rates = Rates()
        self.last_latency: FrameLatency | None = None
        self.size: tuple[int, int] | None = None
        """(H, W) of the first frame since the start, once the engine was warmed up for it."""
        self._node = node
        self._segmenter = segmenter
        self._message_type = CompressedImage if compressed else Image
        self._decode = compressed_to_array if compressed else image_to_array
        prefix = f"~/{name}" if name else "~"
        self._topic = f"{prefix}/input/image/compressed" if compressed else f"{prefix}/input/image"
        self._outputs = Outputs(node, prefix)
        self._mailbox: Mailbox[ReceivedFrame] = Mailbox()
        self._subscription = None
        self._stopped = False
        self._should_log = Throttle()

    @property
    def running(self) -> bool:
        return self._subscription is not None

    @property
    def counts(self) -> FrameCounts:
        """Frames since the last start."""
        return self._mailbox.counts

    @property
    def topic(self) -> str:
        """The input topic's full name."""
        return self._node.resolve_topic_name(self._topic)

    def start(self, changed: threading.Condition) -> Mailbox[ReceivedFrame]:
        """Publish the labels and subscribe; the node's publishers are active already.

        Args:
            changed: of the new mailbox.

        Returns:
            Where the frames arrive.
        """
        self._mailbox = Mailbox(changed)
        self._stopped = False
        self.size = None
        self.last_latency = None
        self.watchdog.start()
        header = Image().header
        header.stamp = self._node.get_clock().now().to_msg()
        self._outputs.publish_labels(self._segmenter.label_set, header)
        self._subscription = self._node.create_subscription(
            self._message_type,
            self._topic,
            self._receive,
            # Best effort matches every publisher, and a queue of old frames helps nobody.
            QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        return self._mailbox

    def unsubscribe(self) -> None:
        """No further frame comes; one in work goes on."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self._mailbox.close()

    def discard(self) -> None:
        """Publish and log nothing more."""
        self._stopped = True

    def destroy(self) -> None:
        """Destroy the publishers; the camera was stopped."""
        self._outputs.destroy()

    def _receive(self, message: Image | CompressedImage) -> None:
        self._mailbox.put(ReceivedFrame(message, time.perf_counter()))
        self.watchdog.frame_arrived()

    def decode(self, frame: ReceivedFrame) -> DecodedFrame | None:
        """The frame's pixels; None when no output has a subscriber. Runs in the worker's thread, as do the next two."""
        wanted = self._outputs.wanted()
        if not wanted:
            self.watchdog.frame_skipped()
            return None
        start_s = time.perf_counter()
        pixels = self._decode(frame.message)
        return DecodedFrame(frame, wanted, pixels, time.perf_counter() - start_s)

    def publish(self, frame: DecodedFrame, result: "Segmentation") -> Outcome:
        """Publish what has subscribers, and the frame's latency."""
        if self._stopped:
            return Outcome.DISCARDED
        start_s = time.perf_counter()
        header = frame.received.message.header
        alpha = self._node.get_parameter("overlay_alpha").value

        def overlay() -> np.ndarray:
            return self._segmenter.overlay(frame.pixels, result.mask, alpha)

        self._outputs.publish_images(frame.wanted, result, overlay, header)
        published_s = time.perf_counter()

        age_s = frame_age_s(self._node.get_clock().now().nanoseconds, stamp_ns(header))
        decode_ms = frame.decode_s * 1e3
        publish_ms = (published_s - start_s) * 1e3
        processing_ms = (published_s - frame.received.received_s) * 1e3
        latency = FrameLatency(
            # The rest, so that the stages sum to the time that passed.
            wait=max(0.0, processing_ms - decode_ms - result.timings.total_ms - publish_ms),
            decode=decode_ms,
            preprocess=result.timings.preprocess_ms,
            inference=result.timings.inference_ms,
            postprocess=result.timings.postprocess_ms,
            publish=publish_ms,
            pipeline=age_s * 1e3,
        )
        self._outputs.publish_figures(latency, self._segmenter.device, header)
        self.last_latency = latency
        self.watchdog.frame_finished(latency.processing, age_s)
        return Outcome.PUBLISHED

    def log_error(self, error: Exception) -> None:
        """Log and remember what is wrong with a frame."""
        if self._stopped or not self._node.context.ok():
            return
        reason = one_line(error)
        frame = f"{self.name}: frame" if self.name else "frame"
        if isinstance(error, FrameError):
            self.watchdog.frame_rejected(reason)
            if self._should_log(reason):
                self._node.get_logger().warning(f"{frame} rejected: {reason}")
        else:
            self.watchdog.frame_failed(reason)
            if self._should_log(reason):
                self._node.get_logger().error(f"{frame} failed: {type(error).__name__}: {reason}")


def one_line(error: BaseException) -> str:
    """The error's message on one line of bounded length, or its type when it has none."""
    return on_one_line(str(error)) or type(error).__name__


def milliseconds(value: float) -> str:
    """For diagnostics: one decimal, or ``unknown`` for NaN."""
    return "unknown" if math.isnan(value) else f"{value:.1f}"
