"""The clock of a frame's steps."""

import time

import torch

from lsabinet_core.inference.laps import Laps


def test_each_step_has_its_own_time():
    laps = Laps(torch.device("cpu"))
    started = time.perf_counter()
    time.sleep(0.02)
    laps.mark()
    laps.mark()
    passed = 1e3 * (time.perf_counter() - started)
    first, second = laps.milliseconds()
    assert 20 <= first <= passed and 0 <= second < first
