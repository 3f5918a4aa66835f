"""Watchdog, frame age, latency and throttle, on a clock that the test sets."""

import math

import pytest

from lsabinet_ros.latency import FrameLatency, frame_age_s, stamp_lead_s
from lsabinet_ros.throttle import Throttle
from lsabinet_ros.watchdog import FRAMES_TO_WARN, Level, Limits, Watchdog

LIMITS = Limits(max_processing_time_ms=100.0, max_consecutive_slow=3, max_image_age_ms=500.0, input_timeout_s=2.0)


class ManualClock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def watchdog(clock):
    return Watchdog(LIMITS, clock)


def one_frame(watchdog, processing_ms=20.0, age_s=0.03):
    watchdog.frame_arrived()
    watchdog.frame_started()
    watchdog.frame_finished(processing_ms, age_s)


def test_ok_while_waiting_and_while_segmenting(watchdog, clock):
    assert watchdog.check().level is Level.OK
    clock.now_s += 1.9
    one_frame(watchdog)
    assert watchdog.check().level is Level.OK


def test_silence_is_an_error_until_the_next_frame(watchdog, clock):
    one_frame(watchdog)
    clock.now_s += 2.0
    assert watchdog.check().level is Level.OK
    clock.now_s += 0.1
    assert watchdog.check().level is Level.ERROR
    assert "2.1 s" in watchdog.check().message
    one_frame(watchdog)
    assert watchdog.check().level is Level.OK


def test_a_missing_first_frame_is_an_error(watchdog, clock):
    clock.now_s += 2.1
    assert watchdog.check().level is Level.ERROR
    watchdog.start()
    assert watchdog.check().level is Level.OK


def test_slow_frames_warn_and_consecutive_ones_are_an_error(watchdog):
    levels = []
    for processing_ms in (99, 101, 150, 100.5, 400, 100):
        one_frame(watchdog, processing_ms)
        levels.append(watchdog.check().level)
    assert levels == [Level.OK, Level.WARN, Level.WARN, Level.ERROR, Level.ERROR, Level.OK]


def test_hanging_inference_is_reported_without_a_frame_finishing(watchdog, clock):
    watchdog.frame_arrived()
    watchdog.frame_started()
    clock.now_s += 0.09
    assert watchdog.check().level is Level.OK
    clock.now_s += 0.02
    assert watchdog.check().level is Level.WARN
    clock.now_s += 0.2
    watchdog.frame_arrived()
    assert watchdog.check().level is Level.ERROR
    assert "310 ms" in watchdog.check().message
    watchdog.frame_finished(310, 0.3)
    assert watchdog.check().level is Level.WARN


def test_old_images_warn_and_unknown_ages_do_not(watchdog):
    for age_s, level in [(0.4, Level.OK), (0.6, Level.WARN), (math.nan, Level.OK), (0.0, Level.OK)]:
        one_frame(watchdog, age_s=age_s)
        assert watchdog.check().level is level


def test_frames_that_stay_in_the_future_warn_and_are_counted(watchdog):
    leads_s = [0.101] * (FRAMES_TO_WARN - 1) + [0.099] + [0.5] * FRAMES_TO_WARN + [0.0]
    levels = []
    for lead_s in leads_s:
        watchdog.frame_arrived(lead_s)
        levels.append(watchdog.check().level)
    # One that is within the limit starts the count again, as when a bag starts again.
    assert levels == [Level.OK] * (2 * FRAMES_TO_WARN - 1) + [Level.WARN, Level.OK]
    assert watchdog.stamps_in_future == 2 * FRAMES_TO_WARN
    watchdog.start()
    assert watchdog.stamps_in_future == 0


def test_images_that_stay_nearly_black_warn(watchdog):
    for count in range(1, FRAMES_TO_WARN + 1):
        watchdog.frame_arrived()
        watchdog.frame_finished(20.0, 0.03, nearly_black=True)
        assert watchdog.check().level is (Level.OK if count < FRAMES_TO_WARN else Level.WARN)
    assert "significant_bits" in watchdog.check().message
    one_frame(watchdog)
    assert watchdog.check().level is Level.OK


def test_low_confidence_warns(clock):
    watchdog = Watchdog(Limits(min_mean_confidence=0.6), clock)
    for confidence, level in [(0.61, Level.OK), (0.59, Level.WARN), (math.nan, Level.OK)]:
        watchdog.frame_arrived()
        watchdog.frame_finished(20.0, 0.03, mean_confidence=confidence)
        assert watchdog.check().level is level


def test_rejected_and_failed_frames_are_reported_until_a_good_one(watchdog):
    watchdog.frame_started()
    watchdog.frame_rejected("no pixels")
    assert watchdog.check().level is Level.WARN
    assert "no pixels" in watchdog.check().message
    watchdog.frame_started()
    watchdog.frame_failed("device lost")
    assert watchdog.check().level is Level.ERROR
    assert "device lost" in watchdog.check().message
    one_frame(watchdog)
    assert watchdog.check().level is Level.OK


def test_frames_without_subscribers_are_healthy(watchdog):
    one_frame(watchdog, processing_ms=400, age_s=9)
    watchdog.frame_arrived()
    watchdog.frame_started()
    watchdog.frame_skipped()
    assert watchdog.check().level is Level.OK


def test_zero_disables_a_limit(clock):
    watchdog = Watchdog(Limits(0.0, 0, 0.0, 0.0, input_timeout_s=0.0), clock)
    for _ in range(FRAMES_TO_WARN):
        watchdog.frame_arrived(lead_s=1e6)
    one_frame(watchdog, processing_ms=1e6, age_s=3000)
    watchdog.frame_started()
    clock.now_s += 1e6
    assert watchdog.check().level is Level.OK


def test_the_worst_finding_is_reported(watchdog, clock):
    one_frame(watchdog, processing_ms=150)
    assert watchdog.check().level is Level.WARN
    clock.now_s += 3
    assert watchdog.check().level is Level.ERROR
    assert "3.0 s" in watchdog.check().message


# Ages and latencies

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("now_ns", "stamp_ns", "age_s"),
    [
        (NOW, NOW - SECOND // 4, 0.25),
        (NOW, NOW, 0.0),
        (NOW, NOW + 60 * SECOND, 0.0),
        (100 * SECOND, 99 * SECOND, 1.0),
        (NOW, 0, math.nan),
        (0, NOW, math.nan),
        (NOW, 100 * SECOND, math.nan),
        (100 * SECOND, NOW, math.nan),
        (NOW, NOW - 3 * 86400 * SECOND, math.nan),
    ],
)
def test_age_is_never_negative_nor_implausible(now_ns, stamp_ns, age_s):
    assert frame_age_s(now_ns, stamp_ns) == pytest.approx(age_s, nan_ok=True)


@pytest.mark.parametrize(
    ("now_ns", "stamp_ns", "lead_s"),
    [
        (NOW, NOW + SECOND // 2, 0.5),
        (NOW, NOW, 0.0),
        (NOW, NOW - SECOND, 0.0),
        (0, NOW, 0.0),
        (100 * SECOND, NOW, 1.7e9),
    ],
)
def test_lead_of_a_stamp(now_ns, stamp_ns, lead_s):
    assert stamp_lead_s(now_ns, stamp_ns) == pytest.approx(lead_s, rel=1e-6)


def test_processing_is_the_sum_of_the_six_stages():
    latency = FrameLatency(1, 2, 4, 8, 16, 32, pipeline=64)
    assert latency.processing == 63
    assert list(latency.stages()) == [
        "wait",
        "decode",
        "preprocess",
        "inference",
        "postprocess",
        "publish",
        "processing",
        "pipeline",
    ]
    assert list(latency.stages().values()) == [1, 2, 4, 8, 16, 32, 63, 64]


def test_throttle_limits_repeated_and_different_texts(clock):
    throttle = Throttle(period_s=30, max_lines=3, clock=clock)
    assert [throttle(text) for text in "aabba"] == [True, False, True, False, False]
    assert [throttle(text) for text in "cdef"] == [True, False, False, False]
    clock.now_s += 31
    assert throttle("a")
    assert throttle("d")
