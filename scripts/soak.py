"""Soak test: the real node with four cameras, faults injected from a seed, and an account of every frame.

Faults: invalid messages, stamps in the future and the past, cameras that fall silent or return with another size,
deactivation and activation, parameter changes, viewers that come and go. The exit status is 1 if a frame is not
accounted for, if the node ends or refuses a transition, or if its memory grows by more than a fifth.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from lsabinet_core.errors import LsabinetError
from lsabinet_core.files import write_text
from lsabinet_core.text_table import Table
from lsabinet_ros.child_process import ChildProcess
from lsabinet_ros.messages import LATENCY_STATUS
from lsabinet_ros.node_driver import NODE, NodeDriver
from lsabinet_ros.own_graph import use_own_graph

CAMERAS = ("front", "rear", "left", "right")
SIZES = ((90, 160), (120, 160), (180, 320), (240, 320))
ENCODINGS = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "mono8": 1, "yuv422_yuy2": 2}
FAULT_SHARE = 0.06
MEMORY_GROWTH = 1.2
"""Maximum growth of the memory in the second half: in the first one, engines for new sizes and batches are built."""
WARM_UP_S = 30.0
"""Time after which the memory is first measured: by then each camera has had frames."""
END_S = 30.0
ENDS = ("published", "dropped", "rejected", "failed")
REASONS = ("replaced", "unwanted", "too_old", "stopped")
"""Why frames are dropped."""


def short_data(image: Image) -> None:
    image.data = image.data[: len(image.data) // 2]


def unknown_encoding(image: Image) -> None:
    image.encoding = "mystery12"


def no_width(image: Image) -> None:
    image.width = 0


def short_step(image: Image) -> None:
    image.step //= 2


def future_stamp(image: Image) -> None:
    image.header.stamp.sec += 3600


def no_stamp(image: Image) -> None:
    image.header.stamp.sec = image.header.stamp.nanosec = 0


FAULTS = (short_data, unknown_encoding, no_width, short_step, future_stamp, no_stamp)


@dataclass
class Camera:
    """A camera of the test and what became of its frames.

    Attributes:
        name: of the camera.
        publish: sends an image; replaced when the camera comes back with another size.
        size: height and width in pixels.
        next_s: when the next frame is due, on the monotonic clock.
        sent: number of messages.
        faulty: how many of them had a fault.
        masks: number of masks received.
        counts: the node's counters of this camera since it was last activated.
        past: the sum of those before.
        latencies_ms: from callback to publication, of each mask, with the time of its arrival.
    """

    name: str
    publish: Callable[[Image], None]
    size: tuple[int, int]
    next_s: float = 0.0
    sent: int = 0
    faulty: int = 0
    masks: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    past: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[tuple[float, float]] = field(default_factory=list)

    def count(self, name: str) -> int:
        """One of the node's counters, over all activations."""
        key = f"frames_{name}"
        return self.past.get(key, 0) + self.counts.get(key, 0)

    def begin_again(self) -> None:
        """Note that the counters start at 0 again."""
        self.past = {key: self.past.get(key, 0) + value for key, value in self.counts.items()}
        self.counts = {}

    def unaccounted(self) -> int:
        """Frames that the node has received and says nothing about."""
        return self.count("received") - sum(self.count(name) for name in ENDS)


class Soak(NodeDriver):
    """The node under test and its cameras."""

    def __init__(self, options: argparse.Namespace):
        super().__init__("soak")
        self.random = random.Random(options.seed)
        self.period_s = 1 / options.rate
        self.log = options.out / "node.log"
        settings = {
            "cameras": list(CAMERAS),
            "weights": options.weights,
            "backend": options.backend,
            "precision": options.precision,
            "diagnostics_period_s": 0.5,
            "input_timeout_s": 0.0,
        }
        parameters = [word for name, value in settings.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
        command = [sys.executable, "-m", "lsabinet_ros.segmentation_node", "--ros-args", *parameters]
        self.process = ChildProcess("node", command, self.log)
        self.watch = self.process.check
        self.cameras = [Camera(name, self._publisher(name), self.random.choice(SIZES)) for name in CAMERAS]
        self.events: dict[str, int] = {}
        self.reports = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, 50)
        reliable = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
        for camera in self.cameras:
            self.node.create_subscription(
                Image, f"{NODE}/{camera.name}/output/mask", self._mask_counter(camera), reliable, raw=True
            )
            self.node.create_subscription(
                DiagnosticArray, f"{NODE}/{camera.name}/debug/latency", self._latency_keeper(camera), reliable
            )
        self._viewer = None
        self._set_parameters = self.node.create_client(SetParameters, f"{NODE}/set_parameters")

    def __exit__(self, *error) -> None:
        self.process.kill()
        super().__exit__(*error)

    def run(self, seconds: float) -> dict:
        """Publish for some seconds; returns the report as JSON values."""
        self.configure(60.0, 180.0)
        begun = time.monotonic()
        for camera in self.cameras:
            # Not all frames that have become due while the node configured.
            camera.next_s = begun + self.random.random()
        memory: list[float] = []
        next_event, next_sample, next_line = begun + 5, begun + min(WARM_UP_S, seconds / 4), begun
        while (now := time.monotonic()) < begun + seconds:
            for camera in self.cameras:
                if now >= camera.next_s:
                    self._send(camera)
            if now >= next_event:
                self._event()
                next_event = now + self.random.uniform(3, 12)
            if now >= next_sample:
                memory.append(self._memory_mib())
                next_sample = now + 5
            if now >= next_line:
                sent = sum(camera.sent for camera in self.cameras)
                line = f"{now - begun:6.0f} of {seconds:.0f} s, {sent} frames sent, {self._memory_mib():.0f} MiB"
                print(line, file=sys.stderr, flush=True)
                next_line = now + 30
            self.spin_for(0.005)
        self._drain()
        memory.append(self._memory_mib())
        status = self.process.stop()
        return self._report(seconds, memory, status)

    # What happens.

    def _send(self, camera: Camera) -> None:
        camera.next_s += self.period_s * self.random.uniform(0.7, 1.3)
        image = self._image(camera)
        if self.random.random() < FAULT_SHARE:
            self.random.choice(FAULTS)(image)
            camera.faulty += 1
        camera.publish(image)
        camera.sent += 1

    def _image(self, camera: Camera) -> Image:
        height, width = camera.size
        encoding = self.random.choice(list(ENCODINGS))
        step = width * ENCODINGS[encoding] + self.random.choice((0, 0, 16))
        image = Image(height=height, width=width, encoding=encoding, step=step)
        image.header.stamp = self.node.get_clock().now().to_msg()
        image.header.frame_id = camera.name
        image.data = np.random.default_rng(camera.sent).bytes(height * step)
        return image

    def _event(self) -> None:
        event = self.random.choice((self._silence, self._restart, self._reactivate, self._set_alpha, self._view))
        name = event.__name__.lstrip("_")
        self.events[name] = self.events.get(name, 0) + 1
        event()

    def _silence(self) -> None:
        self.random.choice(self.cameras).next_s += self.random.uniform(1, 4)

    def _restart(self) -> None:
        camera = self.random.choice(self.cameras)
        self.node.destroy_publisher(camera.publish.__self__)
        camera.size = self.random.choice(SIZES)
        camera.publish = self._publisher(camera.name)

    def _reactivate(self) -> None:
        self._change(Transition.TRANSITION_DEACTIVATE)
        seen = self.reports
        # The first report may have been sent before.
        self.spin_until(lambda: self.reports >= seen + 2 * len(CAMERAS), END_S, "the node did not report")
        for camera in self.cameras:
            camera.begin_again()
        self._change(Transition.TRANSITION_ACTIVATE)

    def _change(self, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self.call(self._change_state, request, 30.0).success:
            raise LsabinetError(f"the node refused transition {transition}; why is in {self.log}")

    def _set_alpha(self) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=self.random.uniform(-0.5, 1.5))
        request = SetParameters.Request(parameters=[Parameter(name="overlay_alpha", value=value)])
        self.ask(self._set_parameters, request, 30.0)

    def _view(self) -> None:
        if self._viewer is not None:
            self.node.destroy_subscription(self._viewer)
            self._viewer = None
            return
        topic = f"{NODE}/{self.random.choice(CAMERAS)}/output/overlay"
        self._viewer = self.node.create_subscription(Image, topic, lambda message: None, 1, raw=True)

    def _drain(self) -> None:
        deadline = time.monotonic() + END_S
        while time.monotonic() < deadline:
            seen = self.reports
            self.spin_for(0.6)
            idle = all(
                not camera.counts.get("frames_in_flight", 1) and not camera.counts.get("frames_waiting", 1)
                for camera in self.cameras
            )
            if idle and self.reports >= seen + len(CAMERAS):
                return

    # What is seen.

    def _publisher(self, name: str) -> Callable[[Image], None]:
        best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        return self.node.create_publisher(Image, f"{NODE}/{name}/input/image", best_effort).publish

    def _mask_counter(self, camera: Camera) -> Callable:
        def count(_mask: bytes) -> None:
            camera.masks += 1

        return count

    def _latency_keeper(self, camera: Camera) -> Callable:
        def keep(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name.startswith(LATENCY_STATUS):
                    stages = {item.key: float(item.value) for item in status.values}
                    camera.latencies_ms.append((time.monotonic(), stages["processing"]))

        return keep

    def _on_health(self, message: DiagnosticArray) -> None:
        for status in message.status:
            for camera in self.cameras:
                if status.name.startswith(NODE.lstrip("/")) and status.name.endswith(f": {camera.name}"):
                    values = {item.key: item.value for item in status.values}
                    if "frames_received" in values:
                        self.reports += 1
                        camera.counts = {k: int(v) for k, v in values.items() if k.startswith("frames_")}

    def _memory_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def _report(self, seconds: float, memory: list[float], status: int) -> dict:
        rows = [
            {
                "camera": camera.name,
                "sent": camera.sent,
                "faulty": camera.faulty,
                **{name: camera.count(name) for name in ("received", *ENDS, *REASONS)},
                "unaccounted": camera.unaccounted(),
                "masks": camera.masks,
                "p50_ms_first_quarter": _median(camera.latencies_ms, 0.0, 0.25),
                "p50_ms_last_quarter": _median(camera.latencies_ms, 0.75, 1.0),
            }
            for camera in self.cameras
        ]
        problems = [
            f"{row['camera']}: {row['unaccounted']} frames unaccounted for" for row in rows if row["unaccounted"]
        ]
        problems += [f"{row['camera']}: no mask" for row in rows if not row["masks"]]
        problems += [
            f"{row['camera']}: {row['published']} masks published, {row['masks']} received"
            for row in rows
            if row["published"] != row["masks"]
        ]
        half = memory[len(memory) // 2]
        if memory[-1] > MEMORY_GROWTH * half:
            problems.append(f"memory grew from {half:.0f} to {memory[-1]:.0f} MiB in the second half")
        if status != 0:
            problems.append(f"the node ended with exit status {status}")
        if "Traceback" in self.log.read_text(encoding="utf-8", errors="replace"):
            problems.append(f"traceback in {self.log}")
        return {
            "seconds": seconds,
            "cameras": rows,
            "events": self.events,
            "memory_mib": {"start": memory[0], "half": half, "end": memory[-1], "max": max(memory)},
            "node_exit_status": status,
            "problems": problems,
        }


def _median(timed: list[tuple[float, float]], begin: float, end: float) -> float | None:
    part = [value for _, value in timed[int(begin * len(timed)) : int(end * len(timed))]]
    return float(np.median(part)) if part else None


def as_text(report: dict) -> str:
    """The report as a table."""
    columns = {name: (lambda row, name=name: _cell(row[name])) for name in report["cameras"][0]}
    memory = report["memory_mib"]
    notes = [
        f"{report['seconds']:.0f} s; events: "
        + ", ".join(f"{count} {name}" for name, count in sorted(report["events"].items())),
        f"Memory of the node: {memory['start']:.0f} MiB at the start, {memory['half']:.0f} after half of the time, "
        f"{memory['end']:.0f} at the end, {memory['max']:.0f} at most. Exit status {report['node_exit_status']}.",
        "; ".join(report["problems"]) or "Every frame is accounted for.",
    ]
    return Table(report["cameras"], columns, words=("camera",), notes=notes).text()


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.0f}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("minutes", type=float, metavar="MINUTES", help="duration of the test")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the faults (default: 1)")
    parser.add_argument("--rate", type=float, default=5.0, metavar="HZ", help="frame rate of each camera (default: 5)")
    parser.add_argument("--weights", default="lsabinet_synthetic", metavar="W", help="weights (default: %(default)s)")
    parser.add_argument("--backend", default="auto", metavar="B", help="inference engine (default: auto)")
    parser.add_argument("--precision", default="auto", metavar="P", help="precision (default: auto)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("soak_output"),
        metavar="DIR",
        help="folder for the report (default: %(default)s)",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    use_own_graph()
    os.environ.setdefault("ROS_LOG_DIR", str(options.out.resolve() / "log"))
    try:
        with Soak(options) as soak:
            report = soak.run(60 * options.minutes)
    except LsabinetError as error:
        print(f"soak: error: {error}", file=sys.stderr)
        return 1
    write_text(options.out / "soak.json", json.dumps(report, indent=2) + "\n")
    print(as_text(report))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
