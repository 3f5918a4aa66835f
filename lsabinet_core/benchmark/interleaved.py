"""Timing several pieces of work side by side, so that what else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class Timing:
    """Durations of one piece of work.

    Attributes:
        first_s: the first call, with whatever is done once only: compilation, allocation, choice of kernels. Seconds.
        times_ms: the measured calls.
    """

    first_s: float = 0.0
    times_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms)

    def percentile_ms(self, percent: float) -> float:
        """What so many percent of the calls stay under; between two calls, interpolated linearly."""
        return float(np.percentile(self.times_ms, percent))


def time_interleaved(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    device: torch.device,
    warmup: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Timing]:
    """Call every piece of work once a round, the first of a round being another one each time.

    Args:
        work: by name.
        rounds: measured ones, at least 1.
        device: where the work runs; waited for at the end of each call.
        warmup: rounds before the measured ones, besides the first calls.
        progress: called with (rounds done, rounds in all), the unmeasured among them.
    """
    names = list(work)
    timings = {name: Timing() for name in names}
    total = 1 + warmup + rounds
    for turn in range(total):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            elapsed = _time(work[name], device)
            if turn == 0:
                timings[name].first_s = elapsed
            elif turn > warmup:
                timings[name].times_ms.append(1000 * elapsed)
        progress(turn + 1, total)
    return timings


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _time(call: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started
