"""The node's health: OK, WARN or ERROR from processing times, image age and silence. Pure logic, no ROS, no thread."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """As diagnostic_msgs/DiagnosticStatus numbers them."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Limits:
    """When health turns bad; 0 switches a limit off.

    Attributes:
        max_processing_time_ms: a frame above it is slow: WARN.
        max_consecutive_slow: so many slow frames in a row: ERROR. A frame that is still in work after this many times
            ``max_processing_time_ms`` (10, if this limit is off) is an ERROR too: inference hangs.
        max_image_age_ms: a frame older than this when its mask is published: WARN.
        input_timeout_s: no frame for this long: ERROR.
    """

    max_processing_time_ms: float = 200.0
    max_consecutive_slow: int = 10
    max_image_age_ms: float = 1000.0
    input_timeout_s: float = 2.0


@dataclass(frozen=True)
class Health:
    """The worst thing that is wrong now, in a line for operators."""

    level: Level
    message: str


class Watchdog:
    """Fed by the subscription and the worker, asked by a timer; it needs no frame to finish to see that none does.

    Safe for several threads.

    Args:
        limits: may be replaced at any time.
        clock: steady seconds.
    """

    def __init__(self, limits: Limits = Limits(), clock: Callable[[], float] = time.monotonic):
        self.limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self.start()

    def start(self) -> None:
        """Forget the past: input is expected from now on."""
        with self._lock:
            self._last_input_s = self._clock()
            self._any_input = False
            self._working_since_s: float | None = None
            self._slow_in_a_row = 0
            self._processing_ms = 0.0
            self._age_s = math.nan
            self._problem: Health | None = None

    def frame_arrived(self) -> None:
        with self._lock:
            self._last_input_s = self._clock()
            self._any_input = True

    def frame_started(self) -> None:
        with self._lock:
            self._working_since_s = self._clock()

    def frame_finished(self, processing_ms: float, age_s: float) -> None:
        """A mask was published.

        Args:
            processing_ms: from the callback to the publication.
            age_s: the frame's age then; NaN if unknown.
        """
        with self._lock:
            self._working_since_s = None
            self._problem = None
            self._processing_ms = processing_ms
            self._age_s = age_s
            self._slow_in_a_row = self._slow_in_a_row + 1 if self._is_slow(processing_ms) else 0

    def frame_skipped(self) -> None:
        """No subscriber wanted the frame."""
        with self._lock:
            self._working_since_s = None
            self._problem = Health(Level.OK, "no output has a subscriber: frames are not segmented")
            self._processing_ms = 0.0
            self._age_s = math.nan
            self._slow_in_a_row = 0

    def frame_rejected(self, reason: str) -> None:
        with self._lock:
            self._working_since_s = None
            self._problem = Health(Level.WARN, f"the last frame was rejected: {reason}")

    def frame_failed(self, reason: str) -> None:
        with self._lock:
            self._working_since_s = None
            self._problem = Health(Level.ERROR, f"the last frame failed: {reason}")

    def check(self) -> Health:
        """The health now: the worst finding, and of equals the first in the order hang, silence, failure, slow, age."""
        with self._lock:
            findings = [f for f in (self._hang(), self._silence(), self._problem, self._slow(), self._old()) if f]
            if findings:
                return max(findings, key=lambda finding: finding.level)
            return Health(Level.OK, "segmenting" if self._any_input else "waiting for the first image")

    def _is_slow(self, processing_ms: float) -> bool:
        return 0 < self.limits.max_processing_time_ms < processing_ms

    def _hang(self) -> Health | None:
        if self._working_since_s is None:
            return None
        working_ms = (self._clock() - self._working_since_s) * 1e3
        if not self._is_slow(working_ms):
            return None
        hangs = working_ms > self.limits.max_processing_time_ms * (self.limits.max_consecutive_slow or 10)
        return Health(
            Level.ERROR if hangs else Level.WARN,
            f"a frame has been in work for {working_ms:.0f} ms, the limit is {self.limits.max_processing_time_ms:g} ms",
        )

    def _silence(self) -> Health | None:
        silent_s = self._clock() - self._last_input_s
        if not 0 < self.limits.input_timeout_s < silent_s:
            return None
        return Health(Level.ERROR, f"no image for {silent_s:.1f} s")

    def _slow(self) -> Health | None:
        if self._slow_in_a_row == 0:
            return None
        many = 0 < self.limits.max_consecutive_slow <= self._slow_in_a_row
        return Health(
            Level.ERROR if many else Level.WARN,
            f"{self._slow_in_a_row} slow frame(s) in a row, the last took {self._processing_ms:.0f} ms, "
            f"the limit is {self.limits.max_processing_time_ms:g} ms",
        )

    def _old(self) -> Health | None:
        # NaN, an unknown age, compares false.
        age_ms = max(0.0, self._age_s) * 1e3 if not math.isnan(self._age_s) else math.nan
        if self.limits.max_image_age_ms > 0 and age_ms > self.limits.max_image_age_ms:
            return Health(
                Level.WARN,
                f"the last image was {age_ms:.0f} ms old, the limit is {self.limits.max_image_age_ms:g} ms",
            )
        return None
