"""Log lines that repeat with every frame, once in a while."""

import time
from collections.abc import Callable


class Throttle:
    """Says whether a line should be logged: each text once per period, and few lines per period altogether.

    Args:
        period_s: how long a text stays silent after it was logged.
        most: lines per period, whatever their texts.
        clock: steady seconds.
    """

    def __init__(self, period_s: float = 30.0, most: int = 10, clock: Callable[[], float] = time.monotonic):
        self._period_s = period_s
        self._most = most
        self._clock = clock
        self._logged_s: dict[str, float] = {}

    def __call__(self, text: str) -> bool:
        now = self._clock()
        self._logged_s = {t: when for t, when in self._logged_s.items() if now - when < self._period_s}
        if text in self._logged_s or len(self._logged_s) >= self._most:
            return False
        self._logged_s[text] = now
        return True
