"""Replay a bag to a node on a live ROS 2 graph, and measure its answers.

The player runs in a separate process, and so does the node, unless it is already running. This process only records.
"""

import csv
import json
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from lsabinet_core.cli.progress import Progress
from lsabinet_core.errors import BagError, LsabinetError
from lsabinet_ros.bag.player import message_class
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.restamp import read_stamp_ns
from lsabinet_ros.bag.settings import INCOMPLETE
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE
from lsabinet_ros.bag.writer import BagWriter
from lsabinet_ros.child_node import NodeSettings, first_frame_size, start_node
from lsabinet_ros.child_process import ChildProcess
from lsabinet_ros.node_driver import NODE, NodeDriver

# Time limits in seconds.
NODE_START_S = 60.0
CONFIGURE_S = 180.0
MATCH_S = 20.0
DRAIN_S = 20.0
QUIET_S = 2.0
"""Another package's node counts as idle if it has sent no mask for this time."""

OUTPUTS = (f"{NODE}/output/mask", f"{NODE}/debug/latency")
"""Topics of our own node that are recorded by default."""


@dataclass(frozen=True)
class Selection:
    """The part of a bag that is played.

    Attributes:
        image_topic: the frames.
        topics: further topics.
        remap: names to publish under, by recorded name.
        start_offset_s: seconds to leave out at the beginning.
        duration_s: seconds to play; None plays to the end.
    """

    image_topic: str
    topics: Sequence[str] = ()
    remap: dict[str, str] = field(default_factory=dict)
    start_offset_s: float = 0.0
    duration_s: float | None = None

    @property
    def published_image_topic(self) -> str:
        return self.remap.get(self.image_topic, self.image_topic)

    def player_command(self, bag: Path, speed: float, out: Path) -> list[str]:
        """The command that plays the selection; it leaves ``player.json`` and ``frame_times.csv`` in ``out``."""
        remap = [f"{old}:={new}" for old, new in self.remap.items()]
        duration = () if self.duration_s is None else ("--duration", str(self.duration_s))
        return [
            *(sys.executable, "-m", "lsabinet_core.cli", "bag", "play", str(bag), "--clock", "--rate", str(speed)),
            *("--topics", self.image_topic, *self.topics),
            *(("--remap", *remap) if remap else ()),
            *("--start-offset", str(self.start_offset_s), *duration, "--wait", str(MATCH_S)),
            *("--json", str(out / "player.json"), "--frame-times", str(out / "frame_times.csv")),
        ]


@dataclass
class Pass:
    """The result of one pass over the selection.

    Attributes:
        speed: playback speed.
        published_ns: when each frame was published, by its stamp, on the monotonic clock.
        answered_ns: when the first mask of each frame arrived, by the frame's stamp, on the monotonic clock.
        duplicates: number of further masks with the stamp of a frame that had one.
        unknown: number of masks with a stamp that no frame has.
        counts: increases of the node's frame counters; empty for another package's node.
        player: report of the player.
    """

    speed: float
    published_ns: dict[int, int] = field(default_factory=dict)
    answered_ns: dict[int, int] = field(default_factory=dict)
    duplicates: int = 0
    unknown: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    player: dict = field(default_factory=dict)

    @property
    def unanswered(self) -> list[int]:
        """Stamps of the frames without a mask."""
        return [stamp for stamp in self.published_ns if stamp not in self.answered_ns]

    @property
    def answered_share(self) -> float:
        return 1 - len(self.unanswered) / len(self.published_ns) if self.published_ns else 0.0


class ReplaySession(NodeDriver):
    """Context manager around a node under test: starts it, unless it is running, and plays bags to it.

    Args:
        selection: what to play.
        node: the node to start; None for one that is running.
        mask_topic: where the masks are published.
        out: folder for logs.

    Attributes:
        exit_status: exit status of the node, once ``stop_node`` has returned; None for a node that was running.
    """

    def __init__(self, selection: Selection, *, node: NodeSettings | None, mask_topic: str, out: Path):
        super().__init__("replay_recorder")
        self._selection, self._out, self._mask_topic = selection, out, mask_topic
        self._masks: list[tuple[int, int]] = []
        self._writer: BagWriter | None = None
        self._subscriptions: dict[str, object] = {}
        self._node = node
        self._process: ChildProcess | None = None
        self.exit_status: int | None = None

    def __exit__(self, *error: Any) -> None:
        if self._process is not None:
            self._process.kill()
        super().__exit__(*error)

    def start(self, bag: Bag, record: Collection[str]) -> None:
        """Start the node and subscribe to its masks and the topics to record.

        Args:
            bag: the bag that will be played; the engine is built for its frames.
            record: topics to record.

        Raises:
            LsabinetError: the node cannot start or configure, or a topic does not appear.
        """
        if self._node is not None:
            images = self._selection.image_topic
            self._process = start_node(
                self._node,
                self._selection.published_image_topic,
                bag.topics[images].type == COMPRESSED_IMAGE,
                self._out,
                first_frame_size(bag, images),
            )
            self.watch = self._process.check
            self.configure(NODE_START_S, CONFIGURE_S)
        self._subscribe(self._mask_topic)
        for topic in record:
            if topic != self._mask_topic:
                self._subscribe(topic)

    def play(self, bag: Bag, speed: float, *, writer: BagWriter | None = None) -> Pass:
        """Play the selection once and wait until the node has answered.

        Args:
            bag: the bag.
            speed: 2 plays twice as fast.
            writer: open bag that receives what the node publishes, with the stamps of its headers as bag time.

        Raises:
            LsabinetError: the node or the player failed.
        """
        self._masks.clear()
        self._writer = writer
        counts_before = dict(self.state.counts)
        player = ChildProcess(
            "player", self._selection.player_command(bag.path, speed, self._out), self._out / "player.log"
        )
        played = (0, INCOMPLETE)
        try:
            frames = bag.topics[self._selection.image_topic].count
            with Progress(f"replaying at rate {speed:g}", frames) as progress:

                def watch() -> None:
                    self._check_node()
                    player.check(may_end=played)
                    progress.update(len(self._masks))

                self.watch = watch
                self.spin_until(player.ended, float("inf"), "the player did not end")
                player.check(may_end=played)
                self.watch = self._check_node
                self._drain()
        finally:
            player.kill()
            self._writer = None
        return self._pass(speed, counts_before)

    def stop_node(self) -> None:
        """End the node that was started, as Ctrl-C does."""
        if self._process is not None:
            self.exit_status = self._process.stop()

    def _check_node(self) -> None:
        if self._process is not None:
            self._process.check()

    def _drain(self) -> None:
        if self._process is None:
            seen = -1
            while seen != len(self._masks):
                seen = len(self._masks)
                self.spin_for(QUIET_S)
            return
        self.end_of_input()
        self.spin_until(self.is_idle, DRAIN_S, "the node did not finish its last frame")
        # Its last masks may still be on their way.
        seen = -1
        while seen != len(self._masks):
            seen = len(self._masks)
            self.spin_for(0.2)

    def _subscribe(self, topic: str) -> None:
        self.spin_until(lambda: bool(self._publishers(topic)), MATCH_S, f"nobody publishes {topic}")
        offered = self._publishers(topic)[0]
        type_name = offered.topic_type
        kind = Image if topic == self._mask_topic else message_class(type_name)
        if topic == self._mask_topic and type_name != "sensor_msgs/msg/Image":
            raise BagError(f"{topic}: expected masks as sensor_msgs/msg/Image, got {type_name}")
        if kind is None:
            raise BagError(f"{topic}: its type {type_name} is not installed")
        reliability = offered.qos_profile.reliability
        profile = QoSProfile(depth=100, reliability=reliability or ReliabilityPolicy.BEST_EFFORT)
        receive = self._receiver(topic, type_name, is_mask=topic == self._mask_topic)
        self._subscriptions[topic] = self.node.create_subscription(kind, topic, receive, profile, raw=True)

    def _publishers(self, topic: str) -> list:
        return self.node.get_publishers_info_by_topic(topic)

    def _receiver(self, topic: str, type_name: str, is_mask: bool):
        def receive(cdr: bytes) -> None:
            stamp_ns = read_stamp_ns(cdr)
            if is_mask:
                self._masks.append((stamp_ns, time.monotonic_ns()))
            if self._writer is not None:
                self._writer.write_serialized(topic, type_name, stamp_ns, cdr)

        return receive

    def _pass(self, speed: float, counts_before: dict[str, int]) -> Pass:
        result = Pass(speed)
        result.player = json.loads((self._out / "player.json").read_text(encoding="utf-8"))
        with (self._out / "frame_times.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                result.published_ns[int(row["stamp_ns"])] = int(row["published_monotonic_ns"])
        for stamp_ns, arrived_ns in self._masks:
            if stamp_ns not in result.published_ns:
                result.unknown += 1
            elif stamp_ns in result.answered_ns:
                result.duplicates += 1
            else:
                result.answered_ns[stamp_ns] = arrived_ns
        if self._process is not None:
            result.counts = {
                name: count - counts_before.get(name, 0)
                for name, count in self.state.counts.items()
                if name not in ("frames_waiting", "frames_in_flight")
            }
        if not result.published_ns:
            raise LsabinetError(f"no frame was published: see {self._out / 'player.log'}")
        return result
