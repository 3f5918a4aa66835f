"""One camera: its subscription, newest frame, outputs and health."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lsabinet_core.errors import FrameError, LsabinetError, one_line
from lsabinet_core.inference.overlay import colorize
from lsabinet_core.labels import VOID
from lsabinet_ros.conversions import Decoded, DecodeOptions, decode_compressed, decode_image
from lsabinet_ros.diagnostics import Rates
from lsabinet_ros.latency import FrameLatency, LatencyWindow, frame_age_s, header_stamp_ns, stamp_lead_s
from lsabinet_ros.mailbox import FrameCounts, Mailbox, Outcome
from lsabinet_ros.outputs import Outputs, Wanted
from lsabinet_ros.parameters import name_for_camera
from lsabinet_ros.published_labels import PublishedLabels
from lsabinet_ros.published_mask import visible_mask
from lsabinet_ros.rate_cap import RateCap
from lsabinet_ros.rectification import Rectifier
from lsabinet_ros.snapshots import FrameSnapshot
from lsabinet_ros.throttle import Throttle
from lsabinet_ros.view import View
from lsabinet_ros.watchdog import Watchdog

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation, Segmenter
    from lsabinet_ros.switching import SwitchingSegmenter


@dataclass(frozen=True)
class ReceivedFrame:
    """A message, and the time at which its callback began, in seconds of ``time.perf_counter``."""

    message: Image | CompressedImage
    received_s: float


@dataclass(frozen=True)
class DecodedFrame:
    """A frame ready for the network.

    Attributes:
        received: the frame as it arrived.
        wanted: the outputs that had subscribers when the worker took the frame.
        whole: BGR, uint8 (H, W, 3), rectified if the camera rectifies.
        info: the camera's calibration, if there is one.
        pixels: the part that is segmented, BGR, uint8 (h, w, 3).
        nearly_black: as ``conversions.Decoded``.
        needs_confidence: whether an output or a parameter needs the confidence.
        decode_s: how long decoding took.
    """

    received: ReceivedFrame
    wanted: Wanted
    whole: np.ndarray
    info: CameraInfo | None
    pixels: np.ndarray
    nearly_black: bool
    needs_confidence: bool
    decode_s: float

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the part that is segmented."""
        return self.pixels.shape[:2]


class Camera:
    """Receives image messages and publishes masks; ``Cameras`` runs the network in between.

    Every frame that is taken from ``mailbox`` is finished once: by ``decode`` if no output is wanted, by ``publish``,
    or by ``fail``.

    Args:
        node: provides topics, clock, logger and the parameters that apply to each frame.
        segmenter: draws the overlay.
        labels: the published classes.
        view: the part of each frame that is segmented.
        changed: the condition that all cameras' mailboxes share.
        stopped: while it is set, nothing is published or logged.
        compressed: subscribe to CompressedImage instead of Image.
        camera_info_topic: topic of the calibration; empty if there is none.
        rectify: rectify the frames by the calibration.
        on_matched: called when a subscriber of an output comes or goes, for a camera that only receives frames while
            there is one; None for one that always does.
        name: the topics are under ``~/name``; empty for a single camera, whose topics are under ``~``.
    """

    def __init__(
        self,
        node: LifecycleNode,
        segmenter: "Segmenter | SwitchingSegmenter",
        labels: PublishedLabels,
        view: View,
        *,
        changed: threading.Condition,
        stopped: threading.Event,
        compressed: bool,
        camera_info_topic: str = "",
        rectify: bool = False,
        on_matched: Callable[[], None] | None = None,
        name: str = "",
    ):
        self.name = name
        self._lazy = on_matched is not None
        self.watchdog = Watchdog()
        self.rates = Rates()
        self.last_latency: FrameLatency | None = None
        self.latencies = LatencyWindow()
        """The latencies since the start."""
        self.last_mean_confidence = math.nan
        """Mean confidence of the last frame, 0 to 1; NaN if it was not computed."""
        self.size: tuple[int, int] | None = None
        """(H, W) of the first frame since the start, once the engine's warm-up for it has begun."""
        self._node = node
        self._segmenter = segmenter
        self._labels = labels
        self._view = view
        self._accepts = RateCap()
        self._changed = changed
        self._stopped = stopped
        self._message_type = CompressedImage if compressed else Image
        self._decode: Callable[[Any, DecodeOptions], Decoded] = decode_compressed if compressed else decode_image
        prefix = f"~/{name}" if name else "~"
        self._topic = f"{prefix}/input/image/compressed" if compressed else f"{prefix}/input/image"
        self._info_topic = _checked_topic(node, camera_info_topic, name_for_camera("camera_info_topic", name))
        self._info: CameraInfo | None = None
        self._rectifier = Rectifier() if rectify else None
        self._outputs = Outputs(node, prefix, camera_info=bool(camera_info_topic), on_matched=on_matched)
        self.compressed_outputs = self._outputs.compressed
        """What a ``Compressor`` serves."""
        self.mailbox: Mailbox[ReceivedFrame] = Mailbox(changed)
        """Where the frames arrive; a new one at every start."""
        self._subscriptions: list[Subscription] = []
        self._snapshot: Future[FrameSnapshot] | None = None
        self._started = False
        self._should_log = Throttle()

    @property
    def running(self) -> bool:
        """Whether the node is active."""
        return self._started

    @property
    def enabled(self) -> bool:
        """The parameter ``enabled`` of this camera."""
        return self._own_parameter("enabled")

    @property
    def needed(self) -> bool:
        """Whether an output or a snapshot needs frames, or the camera always receives them."""
        return not self._lazy or self._snapshot_awaited or bool(self._outputs.wanted())

    @property
    def subscribed(self) -> bool:
        """Whether frames are received."""
        return bool(self._subscriptions)

    @property
    def _snapshot_awaited(self) -> bool:
        return self._snapshot is not None and not self._snapshot.done()

    @property
    def counts(self) -> FrameCounts:
        """Numbers of frames since the last start."""
        return self.mailbox.counts

    @property
    def topic(self) -> str:
        """Full name of the input topic."""
        return self._node.resolve_topic_name(self._topic)

    def start(self) -> None:
        """Publish the labels and expect frames, which ``subscribe`` lets in; the node's publishers must be active."""
        self.mailbox = Mailbox(self._changed)
        self.size = None
        self.last_latency = None
        self.latencies = LatencyWindow()
        self.last_mean_confidence = math.nan
        self._info = None
        self._started = True
        header = Image().header
        header.stamp = self._node.get_clock().now().to_msg()
        self._outputs.publish_labels(self._labels, header)

    def subscribe(self) -> None:
        """Receive frames."""
        if self._subscriptions:
            return
        self.watchdog.start()
        if self._info_topic:
            self._subscribe(CameraInfo, self._info_topic, self._receive_info)
        self._subscribe(self._message_type, self._topic, self._receive)

    def _subscribe(self, message_type: type, topic: str, callback: Callable[[Any], None]) -> None:
        subscription = self._node.create_subscription(
            message_type,
            topic,
            callback,
            # Best effort matches every publisher, and a queue of old frames would only add latency.
            QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscriptions.append(subscription)

    def unsubscribe(self) -> None:
        """Stop receiving frames; those that have arrived are still processed."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def stop(self) -> None:
        """Stop receiving frames; the frame in flight is still processed."""
        self.unsubscribe()
        self._started = False
        self.mailbox.close()

    def destroy(self) -> None:
        """Destroy the publishers; the camera must be stopped."""
        self._outputs.destroy()

    def request_snapshot(self) -> "Future[FrameSnapshot]":
        """Segment the next frame, even without a subscriber, and return it; replaces an earlier request."""
        self._snapshot = Future()
        return self._snapshot

    def _receive_info(self, message: CameraInfo) -> None:
        self._info = message

    def _receive(self, message: Image | CompressedImage) -> None:
        if self._accepts(self._own_parameter("max_rate_hz")):
            self.mailbox.put(ReceivedFrame(message, time.perf_counter()))
        else:
            self.mailbox.skip()
        now_ns = self._node.get_clock().now().nanoseconds
        self.watchdog.frame_arrived(stamp_lead_s(now_ns, header_stamp_ns(message.header)))

    # What follows runs in the worker's thread.

    def decode(self, frame: ReceivedFrame) -> DecodedFrame | None:
        """Decode and rectify a frame; if no output has a subscriber, or it is too old, finish it and return None."""
        wanted = self._outputs.wanted()
        if not wanted and self._snapshot is None:
            self.watchdog.frame_skipped()
            self.mailbox.finish(Outcome.UNWANTED)
            return None
        if self._parameter("drop_old_images"):
            age_s = frame_age_s(self._node.get_clock().now().nanoseconds, header_stamp_ns(frame.message.header))
            if 0 < self.watchdog.limits.max_image_age_ms < age_s * 1e3:
                self.watchdog.frame_too_old(age_s)
                self.mailbox.finish(Outcome.TOO_OLD)
                return None
        start_s = time.perf_counter()
        options = DecodeOptions(self._own_parameter("significant_bits"), self._parameter("max_pixels"))
        decoded = self._decode(frame.message, options)
        info = self._info
        whole = decoded.pixels
        if self._rectifier is not None:
            if info is None:
                raise FrameError(f"expected a CameraInfo on {self._info_topic} to rectify the image, got none yet")
            whole = self._rectifier.rectify(whole, info)
        return DecodedFrame(
            received=frame,
            wanted=wanted,
            whole=whole,
            info=info,
            pixels=self._view.crop(whole),
            nearly_black=decoded.nearly_black,
            needs_confidence=wanted.confidence
            or self._parameter("min_confidence") > 0
            or self._parameter("min_mean_confidence") > 0,
            decode_s=time.perf_counter() - start_s,
        )

    def publish(self, frame: DecodedFrame, result: "Segmentation") -> None:
        """Publish the outputs that have subscribers and the frame's latency, and finish the frame."""
        if self._stopped.is_set():
            self.mailbox.finish(Outcome.DISCARDED)
            return
        start_s = time.perf_counter()
        header = frame.received.message.header
        alpha = self._parameter("overlay_alpha")
        labels = self._labels
        size = frame.whole.shape[0], frame.whole.shape[1]
        mask = visible_mask(result, labels, self._view, self._parameter("min_confidence"), size)
        mask = self._hide_unseen(mask, VOID)
        published = labels.published(mask)
        self._outputs.publish_images(
            frame.wanted,
            published,
            None if result.confidence is None else self._hide_unseen(self._view.restore(result.confidence, size, 0), 0),
            lambda: colorize(mask, labels.drawn),
            lambda: self._segmenter.overlay(frame.whole, mask, alpha, labels.drawn),
            header,
        )
        self._outputs.publish_class_share(published, labels, self._segmenter.device, header)
        if frame.info is not None:
            self._outputs.publish_camera_info(frame.info, header)
        published_s = time.perf_counter()

        age_s = frame_age_s(self._node.get_clock().now().nanoseconds, header_stamp_ns(header))
        decode_ms = frame.decode_s * 1e3
        publish_ms = (published_s - start_s) * 1e3
        processing_ms = (published_s - frame.received.received_s) * 1e3
        latency = FrameLatency(
            # Whatever the other stages do not explain, so that all stages sum to the elapsed time.
            wait=max(0.0, processing_ms - decode_ms - result.timings.total_ms - publish_ms),
            decode=decode_ms,
            preprocess=result.timings.preprocess_ms,
            inference=result.timings.inference_ms,
            postprocess=result.timings.postprocess_ms,
            publish=publish_ms,
            # The age is less if the stamp is later than the arrival; NaN stays NaN.
            pipeline=max(age_s * 1e3, processing_ms),
        )
        self._outputs.publish_latency(latency, self._segmenter.device, header)
        self.last_latency = latency
        self.latencies.add(latency)
        self._answer_snapshot(FrameSnapshot(self.name, header, frame.whole, mask, labels, alpha, latency))
        mean_confidence = math.nan if result.confidence is None else self._view.mean(result.confidence) / 255
        self.last_mean_confidence = mean_confidence
        self.watchdog.frame_finished(
            latency.processing, age_s, nearly_black=frame.nearly_black, mean_confidence=mean_confidence
        )
        self.mailbox.finish(Outcome.PUBLISHED)

    def _hide_unseen(self, values: np.ndarray, fill: int) -> np.ndarray:
        """Values for the whole frame, with ``fill`` where a rectified camera sees nothing."""
        return values if self._rectifier is None else self._rectifier.hide_unseen(values, fill)

    def _answer_snapshot(self, snapshot: FrameSnapshot) -> None:
        request = self._snapshot
        if request is None:
            return
        self._snapshot = None
        # False if nobody waits any longer.
        if request.set_running_or_notify_cancel():
            request.set_result(snapshot)

    def _parameter(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def _own_parameter(self, name: str) -> Any:
        return self._parameter(name_for_camera(name, self.name))

    @contextlib.contextmanager
    def failing(self) -> Iterator[None]:
        """Let an error in the block fail the frame in flight instead of the caller."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 decoders, engines and the middleware raise errors of many kinds
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Log the error, report it to the watchdog and finish the frame: rejected for FrameError, failed otherwise."""
        rejected = isinstance(error, FrameError)
        try:
            if not self._stopped.is_set() and self._node.context.ok():
                self._report(error, rejected)
        finally:
            self.mailbox.finish(Outcome.REJECTED if rejected else Outcome.FAILED)

    def _report(self, error: Exception, rejected: bool) -> None:
        reason = one_line(error)
        frame = f"{self.name}: frame" if self.name else "frame"
        if rejected:
            self.watchdog.frame_rejected(reason)
            if self._should_log(reason):
                self._node.get_logger().warning(f"{frame} rejected: {reason}")
        else:
            self.watchdog.frame_failed(reason)
            if self._should_log(reason):
                self._node.get_logger().error(f"{frame} failed: {type(error).__name__}: {reason}")


def _checked_topic(node: LifecycleNode, topic: str, parameter: str) -> str:
    """The full name of a topic, empty for an empty one; an error names ``parameter``."""
    try:
        return node.resolve_topic_name(topic) if topic else ""
    except Exception:  # noqa: BLE001 rclpy raises errors of different kinds for different faults
        raise LsabinetError(f"{parameter}: expected the name of a topic, got {topic!r}") from None


def milliseconds(value: float) -> str:
    """Milliseconds for diagnostics: one decimal, or ``unknown`` for NaN."""
    return "unknown" if math.isnan(value) else f"{value:.1f}"
