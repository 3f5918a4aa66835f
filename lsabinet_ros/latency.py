"""Latency of a frame by stage, and age of a frame."""

import collections
import math
import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np

STAGES = ("wait", "decode", "preprocess", "inference", "postprocess", "publish")
"""The stages of processing in their order; they sum to the processing time."""

LATENCY_STATUS = "lsabinet: latency"
"""Name of the status with the latency of one frame."""

MAX_AGE_S = 3600.0
"""Maximum plausible age of a camera's frame. Beyond it, stamp and clock are assumed to have different epochs."""


WINDOW_FRAMES = 200
"""Number of last frames whose latencies are summarised."""
PERCENTILES = (50, 95, 99)


class Stamp(Protocol):
    """A ``builtin_interfaces/Time``, of rclpy or of the rosbags library."""

    @property
    def sec(self) -> int: ...

    @property
    def nanosec(self) -> int: ...


class Header(Protocol):
    """A ``std_msgs/Header``, of rclpy or of the rosbags library."""

    @property
    def stamp(self) -> Stamp: ...


@dataclass(frozen=True)
class FrameLatency:
    """Time in milliseconds that one frame spent in each stage.

    Attributes:
        wait: waiting since the subscription's callback, in the mailbox and for other frames of the same batch.
        decode: converting the message to a BGR array.
        preprocess: resizing and normalisation. Like the next two stages, it is the frame's share of its batch.
        inference: running the network, until the device is done.
        postprocess: computing the mask at the frame's size from the logits.
        publish: building and publishing the output messages.
        pipeline: time from the header's stamp to the publication, on the node's clock, but not less than
            ``processing``, even if the stamp is in the future; NaN if stamp and clock have different epochs.
    """

    wait: float
    decode: float
    preprocess: float
    inference: float
    postprocess: float
    publish: float
    pipeline: float

    @property
    def processing(self) -> float:
        """Time from the callback to the publication: the sum of the six stages."""
        return sum(getattr(self, stage) for stage in STAGES)

    def stages(self) -> dict[str, float]:
        """All values by name, in the order of the latency record: the stages, ``processing`` and ``pipeline``."""
        return {name: getattr(self, name) for name in (*STAGES, "processing", "pipeline")}


class LatencyWindow:
    """The latencies of the last frames; one thread adds to it, and any thread may read."""

    def __init__(self):
        self._lock = threading.Lock()
        self._latencies: collections.deque[FrameLatency] = collections.deque(maxlen=WINDOW_FRAMES)

    def add(self, latency: FrameLatency) -> None:
        with self._lock:
            self._latencies.append(latency)

    def percentiles(self) -> dict[str, float]:
        """Milliseconds by ``NAME_pNN_ms``, for every value of ``FrameLatency.stages`` that is known; else left out."""
        with self._lock:
            rows = [latency.stages() for latency in self._latencies]
        found = {}
        for name in rows[0] if rows else ():
            known = [row[name] for row in rows if not math.isnan(row[name])]
            if known:
                values = np.percentile(known, PERCENTILES)
                found |= {f"{name}_p{p}_ms": float(ms) for p, ms in zip(PERCENTILES, values, strict=True)}
        return found


def frame_age_s(now_ns: int, stamp_ns: int) -> float:
    """Seconds since a frame's stamp, at least 0; NaN if stamp and clock have different epochs.

    A looping bag or a lagging simulated clock puts stamps into the future, which counts as age 0. The age is unknown
    for a stamp of 0, before the first tick of a simulated clock, and for a recording played against the wall clock.
    """
    if now_ns <= 0 or stamp_ns <= 0:
        return math.nan
    age_s = (now_ns - stamp_ns) / 1e9
    return math.nan if abs(age_s) > MAX_AGE_S else max(0.0, age_s)


def stamp_lead_s(now_ns: int, stamp_ns: int) -> float:
    """Seconds by which a stamp is later than the clock; 0 if it is not, or before the first tick of a clock."""
    return max(0.0, (stamp_ns - now_ns) / 1e9) if now_ns > 0 else 0.0


def header_stamp_ns(header: Header) -> int:
    """The stamp of a ``std_msgs/Header``, of rclpy or of the rosbags library, in nanoseconds."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
