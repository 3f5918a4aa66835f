"""Publish a bag on a live ROS 2 graph with the timing of its recording."""

import importlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import Bag, Message, one_line
from lsabinet_ros.bag.restamp import Restamper
from lsabinet_ros.bag.topics import is_label_topic

SLICE_S = 0.02
"""Longest sleep in one piece: how soon a stop is noticed, and the period of /clock (50 Hz)."""
SETTLE_S = 0.25
"""From the first match to the first message: the other side of a match, and further subscribers, need a moment."""
ACKNOWLEDGE_S = 3.0
LINGER_S = 0.3
"""From the last message to the end: best-effort readers still copy it from this process's shared memory."""
IMAGE_DEPTH, OTHER_DEPTH = 5, 10
KEPT_FIGURES = 100_000
"""Lateness of the last so many messages: a loop may run for days."""

log = logging.getLogger(__name__)


@dataclass
class PlayReport:
    """What a player did.

    Attributes:
        bag: its path.
        sent: messages by topic, under the names that they were published by.
        frames_sent: messages on image topics other than the labels.
        skipped: messages that were corrupt and not published.
        ignored_topics: topics whose message type is not installed here.
        loops: times that the bag was begun.
        duration_s: from the first message to the last, wall clock.
        rate_hz: frames a second over that time; None below two frames.
        lateness_ms: how late messages went out: ``{"p50", "p95", "max"}``; None if nothing was sent.
        interrupted: stopped before the end.
        acknowledged: every reliable subscriber has confirmed every message.
        truncated: what was lost of a damaged bag, or None.
    """

    bag: str
    sent: dict[str, int] = field(default_factory=dict)
    frames_sent: int = 0
    skipped: int = 0
    ignored_topics: list[str] = field(default_factory=list)
    loops: int = 0
    duration_s: float = 0.0
    rate_hz: float | None = None
    lateness_ms: dict[str, float] | None = None
    interrupted: bool = False
    acknowledged: bool = False
    truncated: str | None = None

    def to_dict(self) -> dict:
        return asdict(self)


class BagPlayer:
    """Publishes the messages of a bag; has its own ROS context, so it lives beside other nodes of a process.

    Args:
        bag: open bag; stays open.
        speed: 2.0 plays twice as fast.
        loop: begin again at the end until ``stop``.
        clock: publish the bag's time on /clock.
        topics: only these; None plays all.
        remap: ``{recorded name: name to publish}``.
        wait_s: longest wait for ``subscribers`` subscribers of an image topic (of any topic, if the bag has no
            images); 0 does not wait.
        restamp: header stamps become the time of publication.
        progress: called with the frames sent so far.

    Raises:
        BagError: no rclpy, a topic that the bag does not have, or options that exclude each other.
    """

    def __init__(
        self,
        bag: Bag,
        *,
        speed: float = 1.0,
        loop: bool = False,
        clock: bool = False,
        topics: Collection[str] | None = None,
        remap: Mapping[str, str] | None = None,
        wait_s: float = 10.0,
        subscribers: int = 1,
        restamp: bool = False,
        progress: Callable[[int], None] | None = None,
    ):
        if not speed > 0 or speed == float("inf"):
            raise BagError(f"expected a speed above 0, got {speed}")
        if restamp and clock:
            raise BagError("restamping uses the system's time and --clock the bag's: choose one")
        for name in [*(topics or ()), *(remap or {})]:
            if name not in bag.topics:
                raise BagError(f"no topic {name} in {bag.path}; it has {bag.topic_list()}")
        self._ros = _import_ros()
        self._bag, self._speed, self._loop = bag, speed, loop
        self._topics = [name for name in bag.topics if topics is None or name in topics]
        self._remap = dict(remap or {})
        self._wait_s, self._subscribers, self._progress = wait_s, subscribers, progress
        self._restamper = Restamper() if restamp else None
        self._with_clock = clock
        self._stopped = False
        self._lateness_ms: deque[float] = deque(maxlen=KEPT_FIGURES)

    def stop(self) -> None:
        """End ``run`` soon; may be called from a signal handler or another thread."""
        self._stopped = True

    def run(self) -> PlayReport:
        """Play to the end (or until ``stop``).

        Raises:
            BagError: nothing to play, no subscriber in time, or not one message of the bag readable.
        """
        rclpy = self._ros
        _prepare_transport()
        context = rclpy.context.Context()
        rclpy.init(args=[], context=context, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        try:
            self._node = rclpy.create_node(
                "bag_player",
                context=context,
                use_global_arguments=False,
                enable_rosout=False,
                start_parameter_services=False,
            )
            try:
                return self._run()
            finally:
                self._node.destroy_node()
        finally:
            rclpy.try_shutdown(context=context)

    def _run(self) -> PlayReport:
        report = PlayReport(str(self._bag.path))
        self._create_publishers(report)
        if self._wait_s > 0:
            self._wait_for_subscribers()
        if not self._stopped:
            self._play(report)
        report.interrupted, report.truncated = self._stopped, self._bag.truncated
        return report

    def _create_publishers(self, report: PlayReport) -> None:
        qos = self._ros.qos
        self._publishers, self._stamped = {}, set()
        for name in self._topics:
            topic = self._bag.topics[name]
            message_type = _message_class(topic.type)
            if message_type is None:
                log.warning("%s is not played: its type %s is not installed here", name, topic.type)
                report.ignored_topics.append(name)
                continue
            profile = qos.QoSProfile(
                depth=IMAGE_DEPTH if topic.is_image else OTHER_DEPTH,
                reliability=qos.ReliabilityPolicy.RELIABLE,
                durability=qos.DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else qos.DurabilityPolicy.VOLATILE,
            )
            published = self._remap.get(name, name)
            try:
                self._publishers[name] = self._node.create_publisher(message_type, published, profile)
            except self._ros.exceptions.NameValidationException as error:
                raise BagError(
                    f"{published!r} is no topic name: {one_line(error)}; give another with --remap"
                ) from error
            fields = message_type.get_fields_and_field_types()
            if next(iter(fields.items()), None) == ("header", "std_msgs/Header"):
                self._stamped.add(name)
        if not self._publishers:
            raise BagError(f"nothing to play in {self._bag.path}; it has {self._bag.topic_list()}")
        self._clock = None
        if self._with_clock:
            self._clock_class = _message_class("rosgraph_msgs/msg/Clock")
            self._clock = self._node.create_publisher(self._clock_class, "/clock", qos.QoSProfile(depth=1))
        self._frame_topics = {
            name for name in self._publishers if self._bag.topics[name].is_image and not is_label_topic(name)
        }

    def _wait_for_subscribers(self) -> None:
        watched = self._frame_topics or set(self._publishers)
        deadline = time.monotonic() + self._wait_s
        while not self._stopped:
            if any(self._publishers[name].get_subscription_count() >= self._subscribers for name in watched):
                time.sleep(SETTLE_S)
                return
            if time.monotonic() > deadline:
                names = " or ".join(sorted(self._publishers[name].topic_name for name in watched))
                wanted = "no subscriber" if self._subscribers == 1 else f"fewer than {self._subscribers} subscribers"
                raise BagError(
                    f"{wanted} of {names} within {self._wait_s:g} s: start the node first, check the topic's name and "
                    "ROS_DOMAIN_ID, or play without waiting (--wait 0)"
                )
            time.sleep(SLICE_S)

    def _play(self, report: PlayReport) -> None:
        start = first = last = None
        while not self._stopped:
            report.loops += 1
            begun_ns = previous_ns = None
            interval_s = 0.0
            if self._restamper:
                self._restamper.reset()
            for message in self._bag.messages(self._publishers):
                cdr = self._checked(message, report)
                if begun_ns is None:
                    begun_ns = previous_ns = message.stamp_ns
                    start = time.monotonic() if start is None else start
                due = start + (message.stamp_ns - begun_ns) / 1e9 / self._speed
                self._sleep_until(due, start, begun_ns)
                if self._stopped:
                    break
                if message.stamp_ns > previous_ns:
                    interval_s = (message.stamp_ns - previous_ns) / 1e9
                previous_ns = message.stamp_ns
                if cdr is None:
                    continue
                self._publish(message, cdr, report)
                last = time.monotonic()
                first = last if first is None else first
                self._lateness_ms.append(1e3 * (last - due))
            if not self._loop or begun_ns is None:
                break
            start += ((previous_ns - begun_ns) / 1e9 + interval_s) / self._speed
        self._finish(report, 0.0 if first is None else last - first)

    def _checked(self, message: Message, report: PlayReport) -> bytes | None:
        """CDR of a message, or None if it is corrupt: subscribers would drop it without a word."""
        try:
            return self._bag.to_cdr(message)
        except BagError as error:
            report.skipped += 1
            log.warning("message skipped: %s", error)
            return None

    def _sleep_until(self, due: float, start: float, begun_ns: int) -> None:
        while True:
            now = time.monotonic()
            if self._clock is not None:
                self._publish_clock(begun_ns + int(max(0.0, min(now, due) - start) * self._speed * 1e9))
            if now >= due or self._stopped:
                return
            time.sleep(min(due - now, SLICE_S))

    def _publish_clock(self, now_ns: int) -> None:
        message = self._clock_class()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, 1_000_000_000)
        self._clock.publish(message)

    def _publish(self, message: Message, cdr: bytes, report: PlayReport) -> None:
        publisher = self._publishers[message.topic]
        if self._restamper and message.topic in self._stamped:
            cdr = self._restamper.restamp(cdr)
        publisher.publish(cdr)
        report.sent[publisher.topic_name] = report.sent.get(publisher.topic_name, 0) + 1
        if message.topic in self._frame_topics:
            report.frames_sent += 1
            if self._progress is not None:
                self._progress(report.frames_sent)

    def _finish(self, report: PlayReport, duration_s: float) -> None:
        report.duration_s = duration_s
        if report.frames_sent > 1 and duration_s > 0:
            report.rate_hz = (report.frames_sent - 1) / duration_s
        if self._lateness_ms:
            p50, p95 = np.percentile(self._lateness_ms, (50, 95))
            largest = max(self._lateness_ms)
            report.lateness_ms = {"p50": round(p50, 3), "p95": round(p95, 3), "max": round(largest, 3)}
        timeout = self._ros.duration.Duration(seconds=ACKNOWLEDGE_S)
        report.acknowledged = all(p.wait_for_all_acked(timeout) for p in self._publishers.values())
        time.sleep(LINGER_S)


def _import_ros():
    try:
        import rclpy
        import rclpy.context
        import rclpy.duration
        import rclpy.exceptions
        import rclpy.qos
        import rclpy.signals
    except ImportError as error:
        raise BagError(
            "rclpy is not available: source a ROS 2 distribution or pip install 'lsabinet_ros[ros]'"
        ) from error
    return rclpy


def _prepare_transport() -> None:
    from lsabinet_ros import transport

    for warning in transport.prepare():
        log.warning("%s", warning)


def _message_class(type_name: str):
    """The rclpy class of e.g. ``sensor_msgs/msg/Image``; None if its package is not installed."""
    package, kind, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        return None
