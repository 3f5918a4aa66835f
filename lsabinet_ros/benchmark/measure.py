"""Starts the node as a process, sends it a camera's images and measures the times; ``report`` prints the figures."""

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from lsabinet_core.benchmark.hardware import describe_machine
from lsabinet_core.data import open_dataset
from lsabinet_core.errors import LsabinetError
from lsabinet_ros.child_process import ChildProcess
from lsabinet_ros.conversions import array_to_image
from lsabinet_ros.latency import header_stamp_ns
from lsabinet_ros.node_driver import NODE, NodeDriver

CAMERAS = ("front", "rear", "left", "right")
CAMERA_RATE_HZ = 5
ROUND = 10
"""Number of images between two changes of the subscriptions."""
SCENES = 8
IDLE_S = 5.0
PAUSE_S = 0.5
"""How long to wait for masks that are under way, and for the discovery of a subscription."""

LAST_ANSWER_S = 3.0
START_S = 60.0
CONFIGURE_S = 300.0
ENGINE_S = 600.0
ANSWER_S = 20.0

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        weights, backend, precision: parameters of the node.
        rate_hz: images per second of the single camera.
        frames: number of images of each size.
    """

    weights: str
    backend: str
    precision: str
    rate_hz: int
    frames: int


@dataclass
class Times:
    """The times of one image, in seconds of ``time.perf_counter``.

    Attributes:
        published_s: just before the camera published it.
        compressed: whether the compressed mask had a subscriber.
        mask_s: when the callback of the mask began; None without a mask.
        compressed_s: when the callback of the compressed mask began; None without one.
        stages: the latency record, ms by stage.
    """

    published_s: float
    compressed: bool
    mask_s: float | None = None
    compressed_s: float | None = None
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.mask_s is not None and bool(self.stages)

    @property
    def total_ms(self) -> float:
        """From the camera's publication to the callback of the mask."""
        assert self.mask_s is not None
        return (self.mask_s - self.published_s) * 1e3

    @property
    def segmenter_ms(self) -> float:
        return sum(self.stages[name] for name in ("preprocess", "inference", "postprocess"))

    @property
    def overhead_ms(self) -> float:
        return self.total_ms - self.segmenter_ms


class NodeUnderTest(NodeDriver):
    """The node as a process, and cameras of one size.

    Args:
        settings: what is measured.
        size: (H, W) of the images.
        cameras: names of the cameras; the empty name is a single one under ``~``.
        log: file for the node's output.
    """

    def __init__(self, settings: Settings, size: tuple[int, int], cameras: Sequence[str], log: Path):
        super().__init__("benchmark")
        names = [name for name in cameras if name]
        parameters = {
            "weights": settings.weights,
            "backend": settings.backend,
            "precision": settings.precision,
            "warm_up_height": size[0],
            "warm_up_width": size[1],
            "diagnostics_period_s": 0.5,
            **({"cameras": names} if names else {}),
        }
        words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={json.dumps(value)}")]
        command = [sys.executable, "-m", "lsabinet_ros.segmentation_node", "--ros-args", *words]
        self._process = ChildProcess("node", command, log)
        self.watch = self._process.check
        self.times: dict[str, dict[int, Times]] = {name: {} for name in cameras}
        self._publishers: dict[str, Publisher] = {}
        self._images = [array_to_image(frame, "bgr8", Image().header) for frame in frames_of(size)]
        self._sent = 0
        self._compressed = None
        self._ready = False
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, 10)
        for name in cameras:
            prefix = prefix_of(name)
            self._publishers[name] = self.node.create_publisher(Image, f"{prefix}/input/image", BEST_EFFORT)
            self.node.create_subscription(
                Image, f"{prefix}/output/mask", functools.partial(self._on_mask, name), RELIABLE
            )
            self.node.create_subscription(
                DiagnosticArray, f"{prefix}/debug/latency", functools.partial(self._on_latency, name), RELIABLE
            )

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        super().__exit__(*error)

    def bring_up(self) -> None:
        """Activate the node, and wait until it has its engine and answers every camera."""
        self.configure(START_S, CONFIGURE_S)
        publishers = self._publishers.values()
        self.spin_until(
            lambda: all(publisher.get_subscription_count() > 0 for publisher in publishers),
            ANSWER_S,
            "the node did not subscribe to every camera",
        )
        self.spin_until(lambda: self._ready, ENGINE_S, "the engine was not ready")
        for name, times in self.times.items():
            end_s = time.monotonic() + ANSWER_S
            # Best effort may lose images, above all the first ones.
            while not any(entry.complete for entry in times.values()):
                if time.monotonic() > end_s:
                    raise LsabinetError(f"the node did not answer {prefix_of(name)} within {ANSWER_S:g} s")
                self.publish(name)
                self.spin_for(PAUSE_S)

    def publish(self, name: str) -> None:
        """Publish the next image of a camera."""
        image = self._images[self._sent % len(self._images)]
        self._sent += 1
        image.header.stamp = self.node.get_clock().now().to_msg()
        times = Times(time.perf_counter(), self._compressed is not None)
        self.times[name][header_stamp_ns(image.header)] = times
        self._publishers[name].publish(image)

    def play(self, rate_hz: float, frames: int) -> None:
        """Publish ``frames`` images of every camera at this rate, the cameras one after another in each period."""
        names = list(self._publishers)
        due_s = time.monotonic()
        for index in range(frames * len(names)):
            while (left_s := due_s - time.monotonic()) > 0:
                self.watch()
                self._executor.spin_once(timeout_sec=left_s)
            self.publish(names[index % len(names)])
            due_s += 1 / (rate_hz * len(names))
        # The newest image is never dropped, but best effort may lose it.
        newest = [list(times.values())[-1] for times in self.times.values()]
        end_s = time.monotonic() + LAST_ANSWER_S
        while not all(times.complete for times in newest) and time.monotonic() < end_s:
            self.spin_for(0.05)
        self.spin_for(PAUSE_S)

    def subscribe_to_compressed_mask(self, wanted: bool) -> None:
        """Begin or end the subscription to the compressed mask of a single camera."""
        topic = f"{NODE}/output/mask/compressed"
        if self._compressed is not None:
            self.node.destroy_subscription(self._compressed)
            self._compressed = None
        if not wanted:
            # The node has to notice.
            self.spin_for(PAUSE_S)
            return
        self._compressed = self.node.create_subscription(CompressedImage, topic, self._on_compressed, RELIABLE)
        times, before = self.times[""], set(self.times[""])
        end_s = time.monotonic() + ANSWER_S
        while not any(times[key].compressed_s for key in times.keys() - before) and time.monotonic() < end_s:
            self.publish("")
            self.spin_for(PAUSE_S)
        for key in times.keys() - before:
            del times[key]

    def cpu_s(self) -> float:
        """Processor time of the node so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.stop()

    def _on_mask(self, name: str, message: Image) -> None:
        now_s = time.perf_counter()
        if (times := self.times[name].get(header_stamp_ns(message.header))) is not None:
            times.mask_s = now_s

    def _on_compressed(self, message: CompressedImage) -> None:
        now_s = time.perf_counter()
        if (times := self.times[""].get(header_stamp_ns(message.header))) is not None:
            times.compressed_s = now_s

    def _on_latency(self, name: str, message: DiagnosticArray) -> None:
        if (times := self.times[name].get(header_stamp_ns(message.header))) is not None:
            times.stages = {item.key: float(item.value) for status in message.status for item in status.values}

    def _on_health(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(f"{NODE.lstrip('/')}:"):
                continue
            values = {item.key: item.value for item in status.values}
            # The node is not ready only while it chooses or builds an engine.
            self._ready = values.get("state") == "active" and values.get("engine_state", "ready") != "building"


def prefix_of(camera: str) -> str:
    return f"{NODE}/{camera}" if camera else NODE


def frames_of(size: tuple[int, int]) -> list[np.ndarray]:
    """Synthetic street scenes of this size, BGR, uint8 (H, W, 3), because masks of noise take longer."""
    return [cv2.resize(scene, size[::-1], interpolation=cv2.INTER_LINEAR) for scene in _scenes()]


@functools.cache
def _scenes() -> list[np.ndarray]:
    drive = open_dataset("synthetic", None, "drive")
    step = len(drive) // SCENES
    return [drive.sample(index * step).image for index in range(SCENES)]


def benchmark_node(
    settings: Settings, sizes: Sequence[tuple[int, int]], folder: Path, progress: Callable[[str, int, int], None]
) -> dict:
    """Measure a single camera at each size, then four cameras at the first size.

    Args:
        settings: what is measured.
        sizes: (H, W) of the camera's images.
        folder: for logs.
        progress: called with the current work, the number of finished steps and of all steps.

    Returns:
        JSON values: ``machine``, ``load`` (average over one minute at the start), ``settings``, ``rows`` (one per
        size) and ``cameras``.

    Raises:
        LsabinetError: the node does not start, cannot be configured or dies.
    """
    import torch

    machine, load = describe_machine(torch.device("cpu")), os.getloadavg()[0]
    rows = []
    for number, size in enumerate(sizes):
        progress("measuring", number, len(sizes) + 1)
        rows.append(_measure_size(settings, size, folder))
    progress("measuring", len(sizes), len(sizes) + 1)
    cameras = _measure_cameras(settings, sizes[0], folder)
    progress("measuring", len(sizes) + 1, len(sizes) + 1)
    return {
        "machine": machine,
        "load": load,
        "settings": {**vars(settings), "camera_rate_hz": CAMERA_RATE_HZ},
        "rows": rows,
        "cameras": cameras,
    }


def _measure_size(settings: Settings, size: tuple[int, int], folder: Path) -> dict:
    with NodeUnderTest(settings, size, [""], folder / "node.log") as node:
        node.bring_up()
        begin_s, begin_cpu_s = time.monotonic(), node.cpu_s()
        node.spin_for(IDLE_S)
        idle = (node.cpu_s() - begin_cpu_s) / (time.monotonic() - begin_s)
        node.times[""].clear()
        # In turns, so that other load on the machine affects both alike.
        for index in range(max(2, settings.frames // ROUND)):
            node.subscribe_to_compressed_mask(index % 2 == 1)
            node.play(settings.rate_hz, ROUND)
        state = node.state
        node.stop()
    all_times = list(node.times[""].values())
    answered = [times for times in all_times if times.complete]
    raw = [times for times in answered if not times.compressed]
    both = [times for times in answered if times.compressed]
    return {
        "size": list(size),
        "backend": state.backend,
        "precision": state.precision,
        "sent": len(all_times),
        "answered": len(answered),
        "segmenter_ms": _median(times.segmenter_ms for times in raw),
        "total_ms": _median(times.total_ms for times in raw),
        "overhead_ms": _median(times.overhead_ms for times in raw),
        "overhead_p99_ms": _percentile([times.overhead_ms for times in raw], 99),
        "wait_ms": _median(times.stages["wait"] for times in raw),
        "decode_ms": _median(times.stages["decode"] for times in raw),
        "publish_ms": _median(times.stages["publish"] for times in raw),
        "overhead_beside_compressed_ms": _median(times.overhead_ms for times in both),
        "compressed_after_raw_ms": _median(
            (times.compressed_s - times.mask_s) * 1e3
            for times in both
            if times.compressed_s is not None and times.mask_s is not None
        ),
        "idle_cores": idle,
    }


def _measure_cameras(settings: Settings, size: tuple[int, int], folder: Path) -> list[dict]:
    """The number of masks per second of each of several cameras."""
    frames = max(ROUND, settings.frames // 2)
    with NodeUnderTest(settings, size, CAMERAS, folder / "node.log") as node:
        node.bring_up()
        for times in node.times.values():
            times.clear()
        node.play(CAMERA_RATE_HZ, frames)
        node.stop()
    return [
        {
            "camera": name,
            "sent": len(times),
            "answered": sum(entry.mask_s is not None for entry in times.values()),
            "masks_per_s": sum(entry.mask_s is not None for entry in times.values()) * CAMERA_RATE_HZ / frames,
        }
        for name, times in node.times.items()
    ]


def _median(values: Iterable[float]) -> float | None:
    return _percentile(list(values), 50)


def _percentile(values: list[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
