"""Run the node, a source of frames and the recorder until the drive ends, and notice when a process dies."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from lsabinet_core.cli.progress import Progress
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.settings import INCOMPLETE
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE
from lsabinet_ros.bag.topics import find_image_topic, find_label_topic
from lsabinet_ros.child_node import NodeSettings, first_frame_size, start_node
from lsabinet_ros.child_process import ChildProcess

from .recorder import Record, Recorder

# Time limits in seconds.
NODE_START_S = 60.0
CONFIGURE_S = 120.0
MATCH_S = 20.0
DRAIN_S = 20.0

PLAYED = (0, INCOMPLETE)
"""Exit statuses of a player that has reached the end of its bag."""


@dataclass(frozen=True)
class Replay:
    """A bag that a separate process plays, with stamps replaced by the time of publication.

    Attributes:
        bag: path of the bag.
        speed: 2 plays twice as fast.
        image_topic: topic of the images; None if the bag has only one.
        label_topic: topic of the labels; None if the bag has at most one.
    """

    bag: Path
    speed: float
    image_topic: str | None = None
    label_topic: str | None = None


@dataclass(frozen=True)
class LiveTopic:
    """The topic of a running camera, recorded for some seconds."""

    topic: str
    seconds: float


def run(source: Replay | LiveTopic, *, weights: str, device: str, backend: str, out: Path, video: bool) -> Record:
    """Start the node, feed it, record what it publishes, and stop it.

    Raises:
        LsabinetError: the node cannot start or configure, or a process ended early; the message names the process and
            its last output.
    """
    image_topic, label_topic, compressed, frames, period_s, frame_size = _topics(source)
    settings = NodeSettings({"weights": weights, "device": device, "backend": backend})
    node = start_node(settings, image_topic, compressed, out, frame_size)
    player = None
    try:
        video_path = out / "overlay.mp4" if video else None
        live = isinstance(source, LiveTopic)
        with Recorder(
            image_topic, label_topic, compressed=compressed, live=live, video=video_path, fps=1 / period_s
        ) as recorder:
            recorder.watch = node.check
            recorder.configure(NODE_START_S, CONFIGURE_S)
            recorder.wait_for_label_set(NODE_START_S)
            if live:
                recorder.spin_until(
                    lambda: recorder.record.frames_seen > 0, MATCH_S, f"no frame arrived on {source.topic}"
                )
                recorder.spin_for(source.seconds)
                recorder.stop_input()
            else:
                topics = [topic for topic in (image_topic, label_topic) if topic is not None]
                player = ChildProcess("player", _player_command(source, topics, out), out / "player.log")

                with Progress("replaying", frames) as progress:

                    def watch() -> None:
                        node.check()
                        player.check(may_end=PLAYED)
                        progress.update(recorder.record.frames_seen)

                    recorder.watch = watch
                    recorder.spin_until(player.ended, float("inf"), "the player did not end")
                player.check(may_end=PLAYED)
                recorder.watch = node.check
            recorder.end_of_input()
            recorder.spin_until(recorder.drained, DRAIN_S, "the node did not finish its last frame")
            recorder.finish()
            record = recorder.record
        record.node_exit_status = node.stop()
        if player is not None:
            record.player = json.loads((out / "player.json").read_text(encoding="utf-8"))
        return record
    finally:
        for process in (player, node):
            if process is not None:
                process.kill()


def _topics(source: Replay | LiveTopic) -> tuple[str, str | None, bool, int, float, tuple[int, int] | None]:
    """Image topic, label topic or None, whether images are compressed, number of frames, frame period in s, and the
    size of the frames, or None if it is unknown."""
    if isinstance(source, LiveTopic):
        return source.topic, None, source.topic.endswith("/compressed"), 0, 1 / 15, None
    with open_bag(source.bag) as bag:
        image = find_image_topic(bag, source.image_topic)
        topic = bag.topics[image]
        if topic.count < 2:
            raise BagError(f"{source.bag}: expected at least 2 frames on {image}, got {topic.count}")
        period_s = max(bag.duration_s / (topic.count - 1) / source.speed, 1e-3)
        labels = find_label_topic(bag, source.label_topic, image)
        is_compressed = topic.type == COMPRESSED_IMAGE
        return image, labels, is_compressed, topic.count, period_s, first_frame_size(bag, image)


def _player_command(source: Replay, topics: list[str], out: Path) -> list[str]:
    # The two subscribers are the node and the recorder.
    return [
        *(sys.executable, "-m", "lsabinet_core.cli", "bag", "play", str(source.bag), "--restamp", "--topics", *topics),
        *("--subscribers", "2", "--wait", str(MATCH_S), "--rate", str(source.speed)),
        *("--json", str(out / "player.json")),
    ]
