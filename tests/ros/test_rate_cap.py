"""The limit of a camera's rate."""

import itertools

import numpy as np
import pytest

from lsabinet_ros.rate_cap import RateCap


@pytest.mark.parametrize(
    ("camera_hz", "cap_hz", "expected_hz"),
    [(30, 10, 10), (15, 10, 10), (20, 15, 15), (60, 7, 7), (10, 10, 10), (5, 10, 5)],
)
def test_rate_is_the_cap_or_that_of_the_camera(camera_hz, cap_hz, expected_hz):
    """Whatever the jitter; stamps arrive up to a twentieth of a period early or late."""
    random = np.random.default_rng(0)
    times = iter([(i + random.uniform(-0.05, 0.05)) / camera_hz + 50 for i in range(60 * camera_hz)])
    accepts = RateCap(lambda: next(times))
    accepted = sum(accepts(cap_hz) for _ in range(60 * camera_hz))
    assert accepted == pytest.approx(60 * expected_hz, rel=0.02)


def test_a_cap_that_is_raised_or_removed_applies_at_once():
    now = [10.0]
    accepts = RateCap(lambda: now[0])
    assert accepts(0.01)
    assert not accepts(0.01)
    assert accepts(0.0)
    now[0] += 0.1
    assert not accepts(5.0)
    now[0] += 0.25
    assert accepts(5.0)


def test_frames_do_not_come_in_bursts_after_a_pause():
    now = [0.0]
    accepts = RateCap(lambda: now[0])
    times = []
    for frame in range(100):
        now[0] = 1000.0 + frame / 100
        if accepts(10.0):
            times.append(now[0])
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.03


def test_a_pause_earns_no_burst():
    now = [1000.0]
    accepts = RateCap(lambda: now[0])
    assert accepts(1.0)
    assert not accepts(1.0)
    now[0] += 50
    assert accepts(1.0)
    assert not accepts(1.0)
