"""One camera: its subscription, newest-frame slot, outputs and health."""

import math
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_core.errors import FrameError
from lsabinet_ros.conversions import compressed_to_array, image_to_array
from lsabinet_ros.core_log import on_one_line
from lsabinet_ros.latency import FrameLatency, frame_age_s
from lsabinet_ros.mailbox import FrameCounts, Mailbox, Outcome
from lsabinet_ros.messages import stamp_ns
from lsabinet_ros.outputs import Outputs
from lsabinet_ros.throttle import Throttle
from lsabinet_ros.watchdog import Watchdog
from lsabinet_ros.worker import WorkerThread, serve

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmenter


@dataclass(frozen=True)
class ReceivedFrame:
    """A message and the moment, in seconds of ``time.perf_counter``, when its callback began."""

    message: Image | CompressedImage
    received_s: float


class Camera:
    """From image messages to published masks. Made at configure, started at activate, stopped at deactivate.

    Args:
        node: whose topics, clock, logger and parameter ``overlay_alpha`` are used.
        segmenter: used in the worker's thread only.
        compressed: subscribe to CompressedImage instead of Image.
        prefix: of the topics, ``~`` for a single camera.
    """

    def __init__(self, node: LifecycleNode, segmenter: "Segmenter", *, compressed: bool, prefix: str = "~"):
        self.watchdog = Watchdog()
        self.last_latency: FrameLatency | None = None
        self._node = node
        self._segmenter = segmenter
        self._message_type = CompressedImage if compressed else Image
        self._decode = compressed_to_array if compressed else image_to_array
        self._topic = f"{prefix}/input/image/compressed" if compressed else f"{prefix}/input/image"
        self._outputs = Outputs(node, prefix)
        self._mailbox: Mailbox[ReceivedFrame] = Mailbox()
        self._subscription = None
        self._serving: Future | None = None
        self._stopped = False
        self._warm = False
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

    def start(self, worker: WorkerThread) -> None:
        """Publish the labels, subscribe, and serve frames in ``worker``; the node's publishers are active already."""
        self._mailbox = Mailbox()
        self._stopped = False
        self._warm = False
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
        mailbox = self._mailbox
        self._serving = worker.submit(lambda: serve(mailbox, self._process, self._log_error))

    def stop(self, timeout_s: float) -> bool:
        """Unsubscribe and let the frame in work finish.

        Returns:
            False when it still is in work after ``timeout_s``; its result will not be published.
        """
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self._mailbox.close()
        try:
            if self._serving is not None:
                # A second call does not wait again for a device that hangs.
                self._serving.result(0.0 if self._stopped else timeout_s)
        except FutureTimeoutError:
            return False
        finally:
            self._stopped = True
        return True

    def destroy(self) -> None:
        """Destroy the publishers; the camera was stopped."""
        self._outputs.destroy()

    def _receive(self, message: Image | CompressedImage) -> None:
        self._mailbox.put(ReceivedFrame(message, time.perf_counter()))
        self.watchdog.frame_arrived()

    def _process(self, frame: ReceivedFrame) -> Outcome:
        """Segment one frame and publish what has subscribers; runs in the worker's thread."""
        taken_s = time.perf_counter()
        self.watchdog.frame_started()
        wanted = self._outputs.wanted()
        if not wanted:
            self.watchdog.frame_skipped()
            return Outcome.UNWANTED
        header = frame.message.header
        pixels = self._decode(frame.message)
        decoded_s = time.perf_counter()
        if not self._warm:
            # Only its first frame tells the camera's size, for which the engine may have to be built: beside the frames.
            self._segmenter.warm_up(pixels.shape[:2], wait=False)
            self._warm = True
        ready_s = time.perf_counter()
        result = self._segmenter.segment(pixels, confidence=wanted.confidence)
        if self._stopped:
            return Outcome.DISCARDED
        alpha = self._node.get_parameter("overlay_alpha").value
        self._outputs.publish_images(wanted, pixels, result, self._segmenter.label_set, alpha, header)
        published_s = time.perf_counter()

        age_s = frame_age_s(self._node.get_clock().now().nanoseconds, stamp_ns(header))
        timings = result.timings
        before_ms = (ready_s - frame.received_s) * 1e3
        segmenter_ms = timings.preprocess_ms + timings.inference_ms + timings.postprocess_ms
        latency = FrameLatency(
            wait=(taken_s - frame.received_s + ready_s - decoded_s) * 1e3,
            decode=(decoded_s - taken_s) * 1e3,
            preprocess=timings.preprocess_ms,
            inference=timings.inference_ms,
            postprocess=timings.postprocess_ms,
            # The rest, so that the stages sum to the time that passed.
            publish=max(0.0, (published_s - frame.received_s) * 1e3 - before_ms - segmenter_ms),
            pipeline=age_s * 1e3,
        )
        self._outputs.publish_figures(latency, self._segmenter.device, header)
        self.last_latency = latency
        self.watchdog.frame_finished(latency.processing, age_s)
        return Outcome.PUBLISHED

    def _log_error(self, error: Exception) -> None:
        """Log and remember what is wrong with a frame; runs in the worker's thread."""
        if self._stopped or not self._node.context.ok():
            return
        reason = one_line(error)
        if isinstance(error, FrameError):
            self.watchdog.frame_rejected(reason)
            if self._should_log(reason):
                self._node.get_logger().warning(f"frame rejected: {reason}")
        else:
            self.watchdog.frame_failed(reason)
            if self._should_log(reason):
                self._node.get_logger().error(f"frame failed: {type(error).__name__}: {reason}")


def one_line(error: BaseException) -> str:
    """The error's message on one line of bounded length, or its type when it has none."""
    return on_one_line(str(error)) or type(error).__name__


def milliseconds(value: float) -> str:
    """For diagnostics: one decimal, or ``unknown`` for NaN."""
    return "unknown" if math.isnan(value) else f"{value:.1f}"
