"""Runs the node, a source of frames and the recorder to the end of the drive, each process watched by the others."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lsabinet_core.cli.progress import Progress
from lsabinet_core.errors import BagError, LsabinetError
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.topics import find_image_topic, find_label_topic

from .recorder import Record, Recorder

NODE_START_S = 60.0
CONFIGURE_S = 120.0
MATCH_S = 20.0
DRAIN_S = 20.0
EXIT_S = 15.0


@dataclass(frozen=True)
class Replay:
    """A bag that is played by a process of its own, stamped anew with the time of publication.

    Attributes:
        bag: its path.
        speed: 2 plays twice as fast.
        image_topic: the camera; None where the bag has one only.
        label_topic: its labels; None where the bag has those of one camera, or none.
    """

    bag: Path
    speed: float
    image_topic: str | None = None
    label_topic: str | None = None


@dataclass(frozen=True)
class LiveTopic:
    """A running camera's topic, watched for some seconds."""

    topic: str
    seconds: float


def free_domain() -> int:
    """A ROS_DOMAIN_ID of 1..100 that follows from the process id, so that two runs at once rarely share one."""
    return 1 + os.getpid() % 100


def run(source: Replay | LiveTopic, *, weights: str, device: str, backend: str, out: Path, video: bool) -> Record:
    """Start the node, feed it, record what it publishes, stop it.

    Raises:
        LsabinetError: the node cannot start or configure, or a process ended early; says which and what it said.
    """
    image_topic, label_topic, compressed, frames, period_s = _topics(source)
    node = _Process("node", _node_command(image_topic, compressed, weights, device, backend), out / "node.log")
    player = None
    try:
        video_path = out / "overlay.mp4" if video else None
        live = isinstance(source, LiveTopic)
        with Recorder(
            image_topic, label_topic, compressed=compressed, live=live, video=video_path, fps=1 / period_s
        ) as recorder:
            recorder.watch = node.check
            recorder.configure(NODE_START_S, CONFIGURE_S)
            if live:
                recorder.spin_until(lambda: recorder.record.frames_seen > 0, MATCH_S, f"no frame on {source.topic}")
                recorder.spin_for(source.seconds)
                recorder.stop_input()
            else:
                topics = [topic for topic in (image_topic, label_topic) if topic is not None]
                player = _Process("player", _player_command(source, topics, out), out / "player.log")

                with Progress("replaying", frames) as progress:

                    def watch() -> None:
                        node.check()
                        player.check(may_end=True)
                        progress.update(recorder.record.frames_seen)

                    recorder.watch = watch
                    recorder.spin_until(player.ended, float("inf"), "the player does not end")
                player.check(may_end=True)
                recorder.watch = node.check
            recorder.end_of_input()
            recorder.spin_until(recorder.drained, DRAIN_S, "the node does not finish its last frame")
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
    """Image topic, label topic if there is one, whether images are compressed, frames, seconds from one to the next."""
    if isinstance(source, LiveTopic):
        return source.topic, None, source.topic.endswith("/compressed"), 0, 1 / 15
    with open_bag(source.bag) as bag:
        image = find_image_topic(bag, source.image_topic)
        topic = bag.topics[image]
        if topic.count < 2:
            raise BagError(f"{source.bag} has {topic.count} frames on {image}: expected a drive")
        period_s = max(bag.duration_s / (topic.count - 1) / source.speed, 1e-3)
        labels = find_label_topic(bag, source.label_topic)
        return image, labels, topic.type.endswith("CompressedImage"), topic.count, period_s


def _node_command(image_topic: str, compressed: bool, weights: str, device: str, backend: str) -> list[str]:
    return [
        *(sys.executable, "-m", "lsabinet_ros.segmentation_node", "--ros-args"),
        *("-r", f"~/input/image{'/compressed' if compressed else ''}:={image_topic}"),
        *("-p", f"weights:={json.dumps(weights)}", "-p", f"device:={json.dumps(device)}"),
        *("-p", f"backend:={json.dumps(backend)}"),
        *("-p", f"compressed:={str(compressed).lower()}", "-p", "diagnostics_period_s:=0.2"),
    ]


def _player_command(source: Replay, topics: list[str], out: Path) -> list[str]:
    # Two subscribers: the node and the recorder.
    return [
        *(sys.executable, "-m", "lsabinet_core.cli", "bag", "play", str(source.bag), "--restamp", "--topics", *topics),
        *("--subscribers", "2", "--wait", str(MATCH_S), "--rate", str(source.speed)),
        *("--json", str(out / "player.json")),
    ]


class _Process:
    """A child whose output goes to a log file, and whose end is noticed."""

    def __init__(self, name: str, command: list[str], log: Path):
        self._name = name
        self._log = log
        with log.open("wb") as stream:
            # A session of its own: Ctrl-C comes to us, and we end the children in order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )

    def ended(self) -> bool:
        return self._process.poll() is not None

    def check(self, may_end: bool = False) -> None:
        """Raise LsabinetError if the process ended, or, where it may, if it failed."""
        status = self._process.poll()
        if status is None or (may_end and status == 0):
            return
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = f": {lines[-1].strip()}" if lines else ""
        raise LsabinetError(f"the {self._name} {how}{said} (log: {self._log})")

    def stop(self) -> int:
        """Ask the process to end as Ctrl-C does; returns its exit status."""
        if not self.ended():
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            raise LsabinetError(f"the {self._name} does not end {EXIT_S:g} s after SIGINT (log: {self._log})") from None

    def kill(self) -> None:
        if not self.ended():
            self._process.kill()
            self._process.wait()
