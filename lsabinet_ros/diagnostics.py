"""Figures for /diagnostics: frame counts, frame rates and memory."""

import os
import time
from collections.abc import Callable, Iterable

from lsabinet_ros.mailbox import FrameCounts


class Rates:
    """Input and output rates between two reports.

    Args:
        clock: returns seconds of a steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last_s = clock()
        self._last = FrameCounts()

    def __call__(self, counts: FrameCounts) -> tuple[float, float]:
        """Frames (received, published) per second since the last call; (0, 0) if the counters were reset in between."""
        now_s = self._clock()
        elapsed_s = max(now_s - self._last_s, 1e-6)
        received, published = counts.received - self._last.received, counts.published - self._last.published
        self._last_s, self._last = now_s, counts
        return max(0, received) / elapsed_s, max(0, published) / elapsed_s


def count_values(counts: FrameCounts) -> dict[str, int]:
    """The frame counters by their keys in /diagnostics."""
    return {
        "frames_received": counts.received,
        "frames_published": counts.published,
        "frames_dropped": counts.dropped,
        "frames_rejected": counts.rejected,
        "frames_failed": counts.failed,
        "frames_in_flight": counts.in_flight,
        "frames_waiting": counts.waiting,
        "frames_replaced": counts.replaced,
        "frames_over_rate": counts.over_rate,
        "frames_unwanted": counts.unwanted,
        "frames_too_old": counts.too_old,
        "frames_stopped": counts.stopped,
    }


def compression_values(counts: Iterable[FrameCounts]) -> dict[str, int]:
    """The numbers of compressed images by their keys in /diagnostics, summed over the outputs of a camera."""
    all_counts = list(counts)
    return {
        f"compressed_{outcome}": sum(getattr(one, outcome) for one in all_counts)
        for outcome in ("published", "dropped", "failed")
    }


def resident_memory_mib() -> float:
    """Resident memory of this process in MiB."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def device_memory_mib(device: str) -> float | None:
    """GPU memory used by the tensors of this process in MiB; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.memory_allocated(device) / (1 << 20)
