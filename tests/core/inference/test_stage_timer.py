"""Timing of the stages of a frame."""

import time

import torch

from lsabinet_core.inference.stage_timer import StageTimer


def test_each_stage_is_timed_separately():
    timer = StageTimer(torch.device("cpu"))
    started = time.perf_counter()
    time.sleep(0.02)
    timer.mark()
    timer.mark()
    passed = 1e3 * (time.perf_counter() - started)
    first, second = timer.milliseconds()
    assert 20 <= first <= passed
    assert 0 <= second < first
