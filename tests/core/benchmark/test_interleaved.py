"""Interleaved timing: what is called when, and what is counted."""

import time

import pytest
import torch

from lsabinet_core.benchmark.interleaved import Timing, time_interleaved
from lsabinet_core.benchmark.networks import forward_latency
from lsabinet_core.models import create_model

CPU = torch.device("cpu")


def test_every_round_calls_all_and_begins_with_another():
    calls, done = [], []
    work = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = time_interleaved(work, rounds=3, warmup=2, device=CPU, progress=lambda *n: done.append(n))
    rounds = ["".join(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert rounds == ["abc", "bca", "cab", "abc", "bca", "cab"]
    assert done == [(number, 6) for number in range(1, 7)]
    assert [len(timing.times_ms) for timing in timings.values()] == [3, 3, 3]


def test_the_first_call_is_told_apart():
    calls = []

    def slow_at_first():
        calls.append(None)
        time.sleep(0.3 if len(calls) == 1 else 0.03 if len(calls) <= 3 else 0.002)

    timing = time_interleaved({"it": slow_at_first}, rounds=5, warmup=2, device=CPU)["it"]
    assert timing.first_s >= 0.3
    assert min(timing.times_ms) >= 2
    # Neither the first nor the warm-up is among them: the fastest is well under both.
    assert len(timing.times_ms) == 5 and min(timing.times_ms) < 25
    assert timing.median_ms == pytest.approx(sorted(timing.times_ms)[2])


def test_forward_latency_measures_networks_in_evaluation():
    modes, sizes = [], []
    networks = {"small": create_model("dabnet", 3), "large": create_model("lsabinet", 3)}
    networks["small"].register_forward_hook(lambda module, inputs, _: sizes.append(tuple(inputs[0].shape)))
    networks["large"].register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    latencies = forward_latency(networks, (64, 96), CPU, rounds=2)
    assert list(latencies) == ["small", "large"] and min(latencies.values()) > 0
    assert set(sizes) == {(1, 3, 64, 96)} and set(modes) == {(False, False)} and len(modes) == 5


def test_percentiles_by_hand():
    timing = Timing(times_ms=[40.0, 10.0, 30.0, 20.0])
    # Places 0..3 of 10 20 30 40: 95 % is at 2.85, 99 % at 2.97.
    assert timing.median_ms == 25 and timing.percentile_ms(50) == 25
    assert timing.percentile_ms(95) == pytest.approx(38.5) and timing.percentile_ms(99) == pytest.approx(39.7)
    assert Timing(times_ms=[7.0]).percentile_ms(99) == 7
