"""Throttles log lines that would repeat with every frame."""

import time
from collections.abc import Callable


class Throttle:
    """Decides whether a line should be logged: each text once per period, and a limited number of texts per period.

    Args:
        period_s: time for which a text is not logged again.
        max_lines: maximum number of different texts per period.
        clock: returns seconds of a steady clock.
    """

    def __init__(self, period_s: float = 30.0, max_lines: int = 10, clock: Callable[[], float] = time.monotonic):
        self._period_s = period_s
        self._max_lines = max_lines
        self._clock = clock
        self._logged_s: dict[str, float] = {}

    def __call__(self, text: str) -> bool:
        now = self._clock()
        self._logged_s = {t: when for t, when in self._logged_s.items() if now - when < self._period_s}
        if text in self._logged_s or len(self._logged_s) >= self._max_lines:
            return False
        self._logged_s[text] = now
        return True
