"""Latency by stage and memory over the course of an evaluation."""

import itertools
import math
from collections.abc import Iterator, Sequence

from lsabinet_core.evaluation.latency import summarise_timings
from lsabinet_ros.bag.frame_results import FrameResult
from lsabinet_ros.bag.samples import FrameSource

MAX_STRETCHES = 60
MIN_FRAMES = 10
"""Minimum number of frames in a stretch, except for the last one of a source: fewer have no meaningful percentiles."""


def as_timeline(frames: Sequence[FrameResult], sources: Sequence[FrameSource]) -> list[dict]:
    """The field ``timeline``: a row for each stretch of consecutive frames of one source, in the order of evaluation.

    The warm-up before the first frame of each size is not timed and belongs to no stretch.
    """
    length = max(MIN_FRAMES, math.ceil(len(frames) / MAX_STRETCHES))
    rows = []
    for index, source in enumerate(sources):
        start_ns = source.bag.start_ns or 0
        for stretch in _stretches([frame for frame in frames if frame.source is source], length):
            memory = [frame.memory_mib for frame in stretch if frame.memory_mib is not None]
            rows.append(
                {
                    "source": index,
                    "from_s": (stretch[0].bag_time_ns - start_ns) / 1e9,
                    "to_s": (stretch[-1].bag_time_ns - start_ns) / 1e9,
                    "frames": len(stretch),
                    "latency_ms": summarise_timings(frame.timings for frame in stretch),
                    "memory_mib": max(memory, default=None),
                }
            )
    return rows


def _stretches(frames: Sequence[FrameResult], length: int) -> Iterator[list[FrameResult]]:
    stream = iter(frames)
    while stretch := list(itertools.islice(stream, length)):
        yield stretch
