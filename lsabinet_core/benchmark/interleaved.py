"""Interleaved timing of several workloads, so that other load on the machine affects all of them equally."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Timing:
    """Durations of one workload.

    Attributes:
        first_s: seconds of the first call, including one-time work: compilation, allocation, choice of kernels.
        times_ms: milliseconds of the measured calls.
    """

    first_s: float = 0.0
    times_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        return statistics.median(self.times_ms)

    def percentile_ms(self, percent: float) -> float:
        """The percentile, interpolated linearly between calls."""
        return float(np.percentile(self.times_ms, percent))


def time_interleaved(
    work: Mapping[Key, Callable[[], object]],
    *,
    rounds: int,
    device: torch.device,
    warmup: int = 2,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Key, Timing]:
    """Call every workload once per round; each round starts with a different one.

    Args:
        work: the workloads by name.
        rounds: measured rounds, at least 1.
        device: device of the work; synchronised after each call.
        warmup: unmeasured rounds after the first calls.
        progress: called with (rounds done, total rounds), including unmeasured ones.
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
    """Wait until the device has finished all submitted work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _time(call: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - started
