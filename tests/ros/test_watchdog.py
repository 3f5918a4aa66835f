"""Health on a clock that the test turns by hand."""

import math

import pytest

from lsabinet_ros.latency import FrameLatency, frame_age_s
from lsabinet_ros.throttle import Throttle
from lsabinet_ros.watchdog import Level, Limits, Watchdog

LIMITS = Limits(max_processing_time_ms=100.0, max_consecutive_slow=3, max_image_age_ms=500.0, input_timeout_s=2.0)


class HandClock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def watchdog(clock):
    return Watchdog(LIMITS, clock)


def one_frame(watchdog, processing_ms=20.0, age_s=0.03):
    watchdog.frame_arrived()
    watchdog.frame_started()
    watchdog.frame_finished(processing_ms, age_s)


def test_ok_while_waiting_and_while_segmenting(watchdog, clock):
    assert watchdog.check().level is Level.OK
    assert "waiting" in watchdog.check().message
    clock.now_s += 1.9
    one_frame(watchdog)
    assert (watchdog.check().level, watchdog.check().message) == (Level.OK, "segmenting")


def test_silence_is_an_error_until_the_next_frame(watchdog, clock):
    one_frame(watchdog)
    clock.now_s += 2.0
    assert watchdog.check().level is Level.OK
    clock.now_s += 0.1
    assert watchdog.check().level is Level.ERROR
    assert watchdog.check().message == "no image for 2.1 s"
    one_frame(watchdog)
    assert watchdog.check().level is Level.OK


def test_no_first_frame_is_silence_too(watchdog, clock):
    clock.now_s += 2.1
    assert watchdog.check().level is Level.ERROR
    watchdog.start()
    assert watchdog.check().level is Level.OK


def test_slow_frames_warn_and_many_in_a_row_are_an_error(watchdog):
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
    assert "in work for 310 ms" in watchdog.check().message
    watchdog.frame_finished(310, 0.3)
    assert watchdog.check().level is Level.WARN


def test_old_images_warn_and_unknown_ages_do_not(watchdog):
    for age_s, level in [(0.4, Level.OK), (0.6, Level.WARN), (math.nan, Level.OK), (0.0, Level.OK)]:
        one_frame(watchdog, age_s=age_s)
        assert watchdog.check().level is level


def test_bad_and_failed_frames_show_until_a_good_one(watchdog):
    watchdog.frame_started()
    watchdog.frame_rejected("no pixels")
    assert watchdog.check().level is Level.WARN and "no pixels" in watchdog.check().message
    watchdog.frame_started()
    watchdog.frame_failed("device lost")
    assert watchdog.check().level is Level.ERROR and "device lost" in watchdog.check().message
    one_frame(watchdog)
    assert watchdog.check().level is Level.OK


def test_frames_that_nobody_wants_are_healthy(watchdog):
    one_frame(watchdog, processing_ms=400, age_s=9)
    watchdog.frame_arrived()
    watchdog.frame_started()
    watchdog.frame_skipped()
    assert watchdog.check().level is Level.OK
    assert "subscriber" in watchdog.check().message


def test_zero_switches_limits_off(clock):
    watchdog = Watchdog(Limits(0.0, 0, 0.0, 0.0), clock)
    one_frame(watchdog, processing_ms=1e6, age_s=3000)
    watchdog.frame_started()
    clock.now_s += 1e6
    assert watchdog.check().level is Level.OK


def test_the_worst_finding_is_reported(watchdog, clock):
    one_frame(watchdog, processing_ms=150)
    assert watchdog.check().level is Level.WARN
    clock.now_s += 3
    assert watchdog.check().message == "no image for 3.0 s"


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
def test_age_is_never_negative_nor_epoch_sized(now_ns, stamp_ns, age_s):
    assert frame_age_s(now_ns, stamp_ns) == pytest.approx(age_s, nan_ok=True)


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


def test_throttle_lets_a_text_through_once_per_period_and_few_texts_at_all(clock):
    throttle = Throttle(period_s=30, most=3, clock=clock)
    assert [throttle(text) for text in "aabba"] == [True, False, True, False, False]
    assert [throttle(text) for text in "cdef"] == [True, False, False, False]
    clock.now_s += 31
    assert throttle("a") and throttle("d")
