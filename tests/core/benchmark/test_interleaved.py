"""Interleaved timing: order of the calls, and which of them are measured."""

import time

import pytest
import torch

from lsabinet_core.benchmark.interleaved import Timing, time_interleaved

CPU = torch.device("cpu")


def test_rounds_start_with_different_work():
    calls, done = [], []
    work = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = time_interleaved(work, rounds=3, warmup=2, device=CPU, progress=lambda *n: done.append(n))
    rounds = ["".join(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab"]
    assert done == [(number, 6) for number in range(1, 7)]
    assert [len(timing.times_ms) for timing in timings.values()] == [3, 3, 3]


def test_first_call_is_reported_separately():
    calls = []

    def slow_at_first():
        calls.append(None)
        time.sleep(0.3 if len(calls) == 1 else 0.03 if len(calls) <= 3 else 0.002)

    timing = time_interleaved({"it": slow_at_first}, rounds=5, warmup=2, device=CPU)["it"]
    assert timing.first_s >= 0.3
    assert min(timing.times_ms) >= 2
    # Neither the first call nor the warm-up is included.
    assert len(timing.times_ms) == 5
    assert min(timing.times_ms) < 25
    assert timing.median_ms == pytest.approx(sorted(timing.times_ms)[2])


def test_percentiles_match_hand_computed_values():
    timing = Timing(times_ms=[40.0, 10.0, 30.0, 20.0])
    # Positions 0..3 of 10 20 30 40: 95 % is at 2.85, 99 % at 2.97.
    assert timing.median_ms == 25
    assert timing.percentile_ms(50) == 25
    assert timing.percentile_ms(95) == pytest.approx(38.5)
    assert timing.percentile_ms(99) == pytest.approx(39.7)
    assert Timing(times_ms=[7.0]).percentile_ms(99) == 7
