"""Publish a bag on a live ROS 2 graph with its recorded timing."""

import importlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lsabinet_core.errors import BagError, one_line
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.restamp import Restamper, read_stamp_ns
from lsabinet_ros.bag.storage import Message, listed
from lsabinet_ros.bag.topics import is_label_topic

SLICE_S = 0.02
"""Maximum duration of one sleep: it bounds the reaction time to a stop and is the period of /clock (50 Hz)."""
SETTLE_S = 0.25
"""Pause between the first match and the first message, in which further subscribers match as well."""
ACKNOWLEDGE_S = 3.0
"""Maximum time to wait until reliable subscribers have acknowledged all messages."""
LINGER_S = 0.3
"""Pause after the last message, because best-effort readers still copy it from this process's shared memory."""
IMAGE_DEPTH, OTHER_DEPTH = 5, 10
LONG_GAP_S, MAX_GAP_S = 10.0, 600.0
"""The player logs a pause between messages that is longer than the first value, and skips one that is longer than the
second: setting the clock during a recording leaves gaps of years."""
MAX_TOPICS = 5000
"""Maximum number of topics to play: each has a publisher, which takes memory and time here and in every other node."""
MAX_LATENESS_SAMPLES = 100_000
"""Number of latest messages whose lateness is kept; a loop may run for days."""
EXPECTED_SPEED = "expected a speed above 0, such as 1000 to play as fast as the bag can be read"

log = logging.getLogger(__name__)


@dataclass
class PlayReport:
    """What a player has published.

    Attributes:
        bag: path of the bag.
        sent: number of messages by the name under which the topic was published.
        frames_sent: number of messages on image topics, without labels.
        skipped: number of corrupt messages, which were not published.
        ignored_topics: topics whose message type is not installed.
        loops: how often the bag was started.
        duration_s: wall-clock time from the first to the last message.
        rate_hz: mean frame rate over that time; None for fewer than two frames.
        lateness_ms: delay of messages after their due time: ``{"p50", "p95", "max"}``; None if nothing was sent.
        interrupted: whether the player was stopped before the end.
        acknowledged: whether every reliable subscriber has acknowledged every message.
        skipped_gaps: number of gaps that were skipped because they were too long.
        lost: descriptions of what cannot be read of a damaged bag.
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
    skipped_gaps: int = 0
    lost: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return asdict(self)


class BagPlayer:
    """Publishes the messages of a bag in a separate ROS context, so that other nodes may share the process.

    Args:
        bag: open bag; it stays open.
        speed: 2.0 plays twice as fast.
        loop: start again at the end, until ``stop`` is called.
        start_offset_s: seconds of the bag to leave out at its beginning.
        duration_s: seconds of the bag to play; None plays to its end.
        clock: publish the bag's time on /clock.
        topics: play only these topics; None plays all.
        remap: ``{recorded name: name to publish}``.
        wait_s: maximum time to wait for subscribers of an image topic (of any topic if the bag has no images); 0 does
            not wait.
        subscribers: number of subscribers to wait for.
        restamp: replace header stamps by the time of publication.
        progress: called with the number of frames sent so far.
        on_frame: called with the header stamp of each frame and the time of its publication, ``time.monotonic_ns()``.

    Raises:
        BagError: rclpy is not installed, the bag does not have a topic, or options exclude each other.
    """

    def __init__(
        self,
        bag: Bag,
        *,
        speed: float = 1.0,
        loop: bool = False,
        start_offset_s: float = 0.0,
        duration_s: float | None = None,
        clock: bool = False,
        topics: Collection[str] | None = None,
        remap: Mapping[str, str] | None = None,
        wait_s: float = 10.0,
        subscribers: int = 1,
        restamp: bool = False,
        progress: Callable[[int], None] | None = None,
        on_frame: Callable[[int, int], None] | None = None,
    ):
        if not speed > 0 or speed == float("inf"):
            raise BagError(f"{EXPECTED_SPEED}, got {speed}")
        if restamp and clock:
            raise BagError("--restamp uses the system time and --clock the bag's time: choose one")
        for name in [*(topics or ()), *(remap or {})]:
            if name not in bag.topics:
                raise BagError(f"no topic {name} in {bag.path}; it has {bag.topic_list()}")
        if start_offset_s and bag.start_ns is not None and start_offset_s > bag.duration_s:
            raise BagError(f"--start-offset {start_offset_s:g}: {bag.path} ends after {bag.duration_s:.3f} s")
        self._topics = [name for name in bag.topics if topics is None or name in topics]
        if len(self._topics) > MAX_TOPICS:
            raise BagError(
                f"expected at most {MAX_TOPICS} topics to play, got {len(self._topics)} in {bag.path}: choose some "
                "with --topics"
            )
        self._ros = _import_ros()
        self._start_offset_ns = round(start_offset_s * 1e9)
        self._duration_ns = None if duration_s is None else round(duration_s * 1e9)
        self._bag, self._speed, self._loop = bag, speed, loop
        self._remap = dict(remap or {})
        self._wait_s, self._subscribers, self._progress = wait_s, subscribers, progress
        self._on_frame = on_frame
        self._restamper = Restamper() if restamp else None
        self._with_clock = clock
        self._stopped = False
        self._lateness_ms: deque[float] = deque(maxlen=MAX_LATENESS_SAMPLES)

    def stop(self) -> None:
        """Make ``run`` return soon; may be called from a signal handler or another thread."""
        self._stopped = True

    def run(self) -> PlayReport:
        """Play to the end, or until ``stop`` is called.

        Raises:
            BagError: nothing to play, no subscriber in time, or no readable message in the bag.
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
        report.interrupted, report.lost = self._stopped, self._bag.losses
        return report

    def _create_publishers(self, report: PlayReport) -> None:
        qos = self._ros.qos
        self._publishers, self._stamped = {}, set()
        for name in self._topics:
            topic = self._bag.topics[name]
            message_type = message_class(topic.type) if topic.is_ros else None
            if message_type is None:
                what = f"its type {topic.type} is not installed" if topic.is_ros else f"it is in {topic.encoding}"
                log.warning("topic %s is ignored: %s", name, what)
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
                    f"{published!r} is not a valid topic name: {one_line(error)}; choose another one with --remap"
                ) from error
            fields = message_type.get_fields_and_field_types()
            if next(iter(fields.items()), None) == ("header", "std_msgs/Header"):
                self._stamped.add(name)
        if not self._publishers:
            raise BagError(f"nothing to play in {self._bag.path}; it has {self._bag.topic_list()}")
        self._clock: Any = None
        if self._with_clock:
            self._clock_class = message_class("rosgraph_msgs/msg/Clock")
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
                names = listed(sorted(self._publishers[name].topic_name for name in watched))
                wanted = "no subscriber" if self._subscribers == 1 else f"fewer than {self._subscribers} subscribers"
                raise BagError(
                    f"{wanted} of {names} within {self._wait_s:g} s: start the node first, check the topic name and "
                    "ROS_DOMAIN_ID, or play without waiting (--wait 0)"
                )
            time.sleep(SLICE_S)

    def _play(self, report: PlayReport) -> None:
        first = last = None
        timeline = _Timeline(self._speed)
        while not self._stopped:
            report.loops += 1
            timeline.begin()
            if self._restamper:
                self._restamper.reset()
            for message in self._selected():
                cdr = self._checked(message, report)
                due = timeline.due(message.stamp_ns)
                self._sleep_until(due, timeline)
                if self._stopped:
                    break
                if cdr is None:
                    continue
                self._publish(message, cdr, report)
                last = time.monotonic()
                first = last if first is None else first
                self._lateness_ms.append(1e3 * (last - due))
            if not self._loop or timeline.previous_ns is None:
                break
        report.skipped_gaps = timeline.skipped_gaps
        self._finish(report, 0.0 if first is None or last is None else last - first)

    def _selected(self) -> Iterator[Message]:
        """The messages to publish, from ``start_offset_s`` on, for ``duration_s``."""
        begin_ns = self._bag.start_ns + self._start_offset_ns if self._bag.start_ns is not None else 0
        for message in self._bag.messages(self._publishers):
            if self._duration_ns is not None and message.stamp_ns > begin_ns + self._duration_ns:
                return
            if message.stamp_ns >= begin_ns:
                yield message

    def _checked(self, message: Message, report: PlayReport) -> bytes | None:
        """The message as CDR, or None if it is corrupt, because subscribers would drop it silently."""
        try:
            return self._bag.to_cdr(message)
        except BagError as error:
            report.skipped += 1
            log.warning("skipped a message: %s", error)
            return None

    def _sleep_until(self, due: float, timeline: "_Timeline") -> None:
        while True:
            now = time.monotonic()
            if self._clock is not None:
                self._publish_clock(timeline.bag_time_ns(min(now, due)))
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
        published_ns = time.monotonic_ns()
        publisher.publish(cdr)
        report.sent[publisher.topic_name] = report.sent.get(publisher.topic_name, 0) + 1
        if message.topic in self._frame_topics:
            report.frames_sent += 1
            if self._on_frame is not None:
                self._on_frame(read_stamp_ns(cdr), published_ns)
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


class _Timeline:
    """Maps the time of the bag to that of ``time.monotonic``.

    Args:
        speed: bag seconds per second.
    """

    def __init__(self, speed: float):
        self._speed = speed
        self._anchor_ns = 0
        self._anchor: float | None = None
        self.previous_ns: int | None = None
        self._interval_ns = 0
        self.skipped_gaps = 0

    def begin(self) -> None:
        """Start the bag, or start it again one interval after its last message."""
        if self.previous_ns is not None:
            self._anchor = self._at(self.previous_ns + self._interval_ns)
        self.previous_ns = None
        self._interval_ns = 0

    def due(self, stamp_ns: int) -> float:
        """When to publish the next message, which has this bag time."""
        if self.previous_ns is None:
            self._anchor_ns = stamp_ns
            self._anchor = time.monotonic() if self._anchor is None else self._anchor
        else:
            gap_s = (stamp_ns - self.previous_ns) / 1e9
            if gap_s > MAX_GAP_S:
                log.warning("skipped a gap of %.0f s at bag time %d ns", gap_s, self.previous_ns)
                self._anchor, self._anchor_ns = self._at(self.previous_ns), stamp_ns
                self.skipped_gaps += 1
            elif gap_s / self._speed > LONG_GAP_S:
                log.warning("a gap of %.1f s in the bag, at bag time %d ns", gap_s, self.previous_ns)
            if 0 < gap_s <= MAX_GAP_S:
                self._interval_ns = stamp_ns - self.previous_ns
        self.previous_ns = stamp_ns
        return self._at(stamp_ns)

    def bag_time_ns(self, now: float) -> int:
        assert self._anchor is not None, "`due` sets it"
        return self._anchor_ns + int(max(0.0, now - self._anchor) * self._speed * 1e9)

    def _at(self, stamp_ns: int) -> float:
        assert self._anchor is not None, "`due` sets it"
        return self._anchor + (stamp_ns - self._anchor_ns) / 1e9 / self._speed


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


def message_class(type_name: str) -> Any:
    """The rclpy class of e.g. ``sensor_msgs/msg/Image``; None if its package is not installed."""
    package, kind, name = type_name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except (ImportError, AttributeError):
        return None
