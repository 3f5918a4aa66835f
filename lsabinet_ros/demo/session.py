"""Run the node, a source of frames and the recorder until the drive ends, and notice when a process dies."""

import contextlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lsabinet_core.cli.progress import Progress
from lsabinet_core.errors import BagError, FrameError
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.settings import INCOMPLETE
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE
from lsabinet_ros.bag.topics import find_image_topic, find_label_topic
from lsabinet_ros.child_process import ChildProcess
from lsabinet_ros.conversions import compressed_to_array, image_to_array

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
    image_topic, label_topic, compressed, frames, period_s = _topics(source)
    command = _node_command(image_topic, compressed, weights, device, backend)
    if isinstance(source, Replay):
        # Otherwise PyTorch would run the short drive while the engine is being built beside it.
        command += _warm_up(source, image_topic)
        _build_engine(command, out)
    node = ChildProcess("node", command, out / "node.log")
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


def _topics(source: Replay | LiveTopic) -> tuple[str, str | None, bool, int, float]:
    """Image topic, label topic or None, whether images are compressed, number of frames, frame period in s."""
    if isinstance(source, LiveTopic):
        return source.topic, None, source.topic.endswith("/compressed"), 0, 1 / 15
    with open_bag(source.bag) as bag:
        image = find_image_topic(bag, source.image_topic)
        topic = bag.topics[image]
        if topic.count < 2:
            raise BagError(f"{source.bag}: expected at least 2 frames on {image}, got {topic.count}")
        period_s = max(bag.duration_s / (topic.count - 1) / source.speed, 1e-3)
        labels = find_label_topic(bag, source.label_topic, image)
        return image, labels, topic.type == COMPRESSED_IMAGE, topic.count, period_s


def _node_command(image_topic: str, compressed: bool, weights: str, device: str, backend: str) -> list[str]:
    return [
        *(sys.executable, "-m", "lsabinet_ros.segmentation_node", "--ros-args"),
        *("-r", f"~/input/image{'/compressed' if compressed else ''}:={image_topic}"),
        *("-p", f"weights:={json.dumps(weights)}", "-p", f"device:={json.dumps(device)}"),
        *("-p", f"backend:={json.dumps(backend)}"),
        *("-p", f"compressed:={str(compressed).lower()}", "-p", "diagnostics_period_s:=0.2"),
    ]


def _warm_up(source: Replay, image_topic: str) -> list[str]:
    """The parameters that announce the size of the frames; none if the first one cannot be decoded."""
    with open_bag(source.bag) as bag, contextlib.suppress(BagError, FrameError, StopIteration):
        message = next(bag.messages([image_topic]))
        decode = compressed_to_array if message.type == COMPRESSED_IMAGE else image_to_array
        height, width = decode(bag.deserialize(message)).shape[:2]
        return ["-p", f"warm_up_height:={height}", "-p", f"warm_up_width:={width}"]
    return []


def _build_engine(command: list[str], out: Path) -> None:
    """Fill the engine cache for the node; a failure is left to the node, whose configure reports it."""
    builder = ChildProcess("engine builder", [*command, "-p", "build_only:=true"], out / "build.log")
    try:
        print("preparing the engine, which takes up to a minute the first time", file=sys.stderr, flush=True)
        deadline = time.monotonic() + CONFIGURE_S
        while not builder.ended() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        builder.kill()


def _player_command(source: Replay, topics: list[str], out: Path) -> list[str]:
    # The two subscribers are the node and the recorder.
    return [
        *(sys.executable, "-m", "lsabinet_core.cli", "bag", "play", str(source.bag), "--restamp", "--topics", *topics),
        *("--subscribers", "2", "--wait", str(MATCH_S), "--rate", str(source.speed)),
        *("--json", str(out / "player.json")),
    ]
