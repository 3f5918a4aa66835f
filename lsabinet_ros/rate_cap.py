"""Limits the rate at which frames are accepted."""

import time
from collections.abc import Callable

EARLY = 0.2
"""Share of a period by which a frame may be early; otherwise, jitter would drop frames of a camera with this rate."""
LATE = 0.5
"""Share of a period by which the frame after a late one may come earlier; more would allow bursts."""


class RateCap:
    """Accepts frames at a maximum mean rate.

    Args:
        clock: returns seconds of a steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._due_s = 0.0

    def __call__(self, max_rate_hz: float) -> bool:
        """Whether to accept the frame that has just arrived; 0 accepts every one."""
        if max_rate_hz <= 0:
            return True
        now_s, period_s = self._clock(), 1 / max_rate_hz
        # It is only later than that if the maximum has been raised since.
        self._due_s = min(self._due_s, now_s + (1 + EARLY) * period_s)
        if now_s < self._due_s - EARLY * period_s:
            return False
        # Due after the last due time, not after this frame; otherwise a cap of 10 Hz would pass 7.5 of 15 Hz.
        self._due_s = max(self._due_s, now_s - LATE * period_s) + period_s
        return True
