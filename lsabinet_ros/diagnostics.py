"""What the node tells /diagnostics: counts, rates, memory."""

import os
import time
from collections.abc import Callable

from lsabinet_ros.mailbox import FrameCounts


class Rates:
    """Frames per second in and out, between one report and the next.

    Args:
        clock: steady seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last_s = clock()
        self._last = FrameCounts()

    def __call__(self, counts: FrameCounts) -> tuple[float, float]:
        """(received, published) per second since the last call; (0, 0) when the counters were reset in between."""
        now_s = self._clock()
        elapsed_s = max(now_s - self._last_s, 1e-6)
        received, published = counts.received - self._last.received, counts.published - self._last.published
        self._last_s, self._last = now_s, counts
        return max(0, received) / elapsed_s, max(0, published) / elapsed_s


def count_values(counts: FrameCounts) -> dict[str, int]:
    """The frame counters under the keys of /diagnostics."""
    return {
        "frames_received": counts.received,
        "frames_published": counts.published,
        "frames_dropped": counts.dropped,
        "frames_rejected": counts.rejected,
        "frames_failed": counts.failed,
        "frames_in_flight": counts.in_flight,
        "frames_waiting": counts.waiting,
        "frames_unwanted": counts.unwanted,
    }


def resident_memory_mib() -> float:
    """The process's resident memory."""
    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def device_memory_mib(device: str) -> float | None:
    """GPU memory that this process's tensors take; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.memory_allocated(device) / (1 << 20)
