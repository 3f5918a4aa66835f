"""Health of a camera: OK, WARN or ERROR, from processing times, image age and missing images. No ROS, no thread."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

FRAMES_TO_WARN = 5
"""How many consecutive frames must be nearly black, or stamped in the future, before that is reported: single frames
may be, at night or when a bag starts again."""


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Limits:
    """Limits beyond which the health is WARN or ERROR; 0 disables a limit.

    Attributes:
        max_processing_time_ms: WARN if a frame takes longer; such a frame is slow.
        max_consecutive_slow: ERROR after this many consecutive slow frames, and if one frame has been processing for
            this many times ``max_processing_time_ms`` (10 times if this limit is disabled), which means that inference
            hangs.
        max_image_age_ms: WARN if a frame is older than this when its mask is published.
        max_clock_skew_ms: WARN if frames are stamped this much later than the node's clock when they arrive.
        min_mean_confidence: WARN if the mean confidence of the last frame, 0 to 1, is lower.
        input_timeout_s: ERROR if no frame arrives for this long.
    """

    max_processing_time_ms: float = 200.0
    max_consecutive_slow: int = 10
    max_image_age_ms: float = 1000.0
    max_clock_skew_ms: float = 100.0
    min_mean_confidence: float = 0.0
    input_timeout_s: float = 2.0


@dataclass(frozen=True)
class Health:
    """Severity and one-line description of the worst current problem, for operators."""

    level: Level
    message: str


class Watchdog:
    """Derives the health from what the subscription and the worker report.

    A timer asks for it, so that it also reveals that no frame arrives or finishes. Thread-safe.

    Args:
        limits: may be replaced at any time.
        clock: returns seconds of a steady clock.
    """

    def __init__(self, limits: Limits = Limits(), clock: Callable[[], float] = time.monotonic):
        self.limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self.start()

    def start(self) -> None:
        """Forget everything reported so far, and expect input from now on."""
        with self._lock:
            self._last_input_s = self._clock()
            self._any_input = False
            self._stamps_in_future = 0
            self._consecutive_skewed = 0
            self._lead_ms = 0.0
            self._consecutive_black = 0
            self._mean_confidence = math.nan
            self._started_s: float | None = None
            self._consecutive_slow = 0
            self._processing_ms = 0.0
            self._age_s = math.nan
            self._problem: Health | None = None

    @property
    def stamps_in_future(self) -> int:
        """Number of frames whose stamp was later than the node's clock when they arrived."""
        return self._stamps_in_future

    def frame_arrived(self, lead_s: float = 0.0) -> None:
        """Report that a frame arrived.

        Args:
            lead_s: by how much its stamp is later than the node's clock; 0 if it is not.
        """
        with self._lock:
            self._last_input_s = self._clock()
            self._any_input = True
            self._lead_ms = lead_s * 1e3
            self._stamps_in_future += lead_s > 0
            skewed = 0 < self.limits.max_clock_skew_ms < self._lead_ms
            self._consecutive_skewed = self._consecutive_skewed + 1 if skewed else 0

    def frame_started(self) -> None:
        with self._lock:
            self._started_s = self._clock()

    def frame_finished(
        self, processing_ms: float, age_s: float, *, nearly_black: bool = False, mean_confidence: float = math.nan
    ) -> None:
        """Report that a mask was published.

        Args:
            processing_ms: time from the callback to the publication.
            age_s: age of the frame at the publication; NaN if unknown.
            nearly_black: as ``conversions.Decoded``.
            mean_confidence: mean over the frame, 0 to 1; NaN if it was not computed.
        """
        with self._lock:
            self._mean_confidence = mean_confidence
            self._started_s = None
            self._problem = None
            self._processing_ms = processing_ms
            self._age_s = age_s
            self._consecutive_slow = self._consecutive_slow + 1 if self._is_slow(processing_ms) else 0
            self._consecutive_black = self._consecutive_black + 1 if nearly_black else 0

    def frame_skipped(self) -> None:
        """Report that no output had a subscriber."""
        with self._lock:
            self._started_s = None
            self._problem = Health(Level.OK, "not segmenting: no output has a subscriber")
            self._processing_ms = 0.0
            self._age_s = math.nan
            self._consecutive_slow = 0

    def frame_too_old(self, age_s: float) -> None:
        """Report that a frame was dropped because of its age."""
        with self._lock:
            self._started_s = None
            self._problem = None
            self._age_s = age_s

    def frame_rejected(self, reason: str) -> None:
        with self._lock:
            self._started_s = None
            self._problem = Health(Level.WARN, f"the last frame was rejected: {reason}")

    def frame_failed(self, reason: str) -> None:
        with self._lock:
            self._started_s = None
            self._problem = Health(Level.ERROR, f"the last frame failed: {reason}")

    def check(self) -> Health:
        """The current health: the worst finding.

        Among equally severe findings, the first one counts in the order hang, silence, failure, slowness, clock skew,
        darkness, low confidence, age.
        """
        with self._lock:
            checks = (
                self._hang,
                self._silence,
                lambda: self._problem,
                self._slow,
                self._skewed,
                self._black,
                self._unsure,
                self._old,
            )
            if findings := [finding for check in checks if (finding := check())]:
                return max(findings, key=lambda finding: finding.level)
            return Health(Level.OK, "segmenting" if self._any_input else "waiting for the first image")

    def _is_slow(self, processing_ms: float) -> bool:
        return 0 < self.limits.max_processing_time_ms < processing_ms

    def _hang(self) -> Health | None:
        if self._started_s is None:
            return None
        elapsed_ms = (self._clock() - self._started_s) * 1e3
        if not self._is_slow(elapsed_ms):
            return None
        limit_ms = self.limits.max_processing_time_ms
        hangs = elapsed_ms > limit_ms * (self.limits.max_consecutive_slow or 10)
        return Health(
            Level.ERROR if hangs else Level.WARN,
            f"a frame has been processing for {elapsed_ms:.0f} ms (limit {limit_ms:g} ms)",
        )

    def _silence(self) -> Health | None:
        silent_s = self._clock() - self._last_input_s
        if not 0 < self.limits.input_timeout_s < silent_s:
            return None
        return Health(Level.ERROR, f"no image for {silent_s:.1f} s")

    def _slow(self) -> Health | None:
        if self._consecutive_slow == 0:
            return None
        many = 0 < self.limits.max_consecutive_slow <= self._consecutive_slow
        return Health(
            Level.ERROR if many else Level.WARN,
            f"{self._consecutive_slow} consecutive slow frame(s), the last one took {self._processing_ms:.0f} ms "
            f"(limit {self.limits.max_processing_time_ms:g} ms)",
        )

    def _skewed(self) -> Health | None:
        if self._consecutive_skewed < FRAMES_TO_WARN:
            return None
        return Health(
            Level.WARN,
            f"{self._consecutive_skewed} consecutive images are stamped in the future, the last one by "
            f"{self._lead_ms:.0f} ms (limit {self.limits.max_clock_skew_ms:g} ms): synchronise the clocks of camera "
            "and node, or set use_sim_time on both or neither",
        )

    def _black(self) -> Health | None:
        if self._consecutive_black < FRAMES_TO_WARN:
            return None
        return Health(
            Level.WARN,
            f"{self._consecutive_black} consecutive 16-bit images have no value above 1/16 of the range: set "
            "significant_bits to the sensor's number of bits",
        )

    def _unsure(self) -> Health | None:
        # An unknown confidence is NaN, which is never less.
        if not self._mean_confidence < self.limits.min_mean_confidence:
            return None
        return Health(
            Level.WARN,
            f"the mean confidence of the last image was {self._mean_confidence:.2f} "
            f"(limit {self.limits.min_mean_confidence:g}): do not rely on the mask",
        )

    def _old(self) -> Health | None:
        age_ms = self._age_s * 1e3
        # An unknown age is NaN, which is never greater.
        if not 0 < self.limits.max_image_age_ms < age_ms:
            return None
        return Health(Level.WARN, f"the last image was {age_ms:.0f} ms old (limit {self.limits.max_image_age_ms:g} ms)")
