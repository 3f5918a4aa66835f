"""Slices of time: when they end, and what they leave."""

import signal
import threading
import time

import pytest

from lsabinet_core.cli.time_slice import CLOSING_SECONDS, time_slice
from lsabinet_core.training.campaign import TimeUp


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_without_an_end():
    with time_slice(None, time.monotonic()) as deadline:
        assert deadline is None and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_time_is_kept_for_closing():
    started = time.monotonic()
    with time_slice(500, started) as deadline:
        assert deadline == started + 500 - CLOSING_SECONDS
        raise TimeUp
    with time_slice(3, started) as deadline:
        assert deadline == started + 1


def test_what_hangs_is_interrupted():
    with time_slice(1, time.monotonic() - 5):
        assert not threading.Event().wait(60), "nothing ended the slice"


@pytest.mark.parametrize("call", [signal.setitimer, signal.signal])
def test_an_alarm_while_the_slice_is_opened_or_closed_comes_again(monkeypatch, call):
    """Whatever the moment: one is sent before and after each step of the two."""
    alarms = []

    def and_alarm(*arguments):
        for step in (lambda: None, lambda: call(*arguments)):
            result = step()
            if callable(signal.getsignal(signal.SIGALRM)):
                alarms.append(signal.raise_signal(signal.SIGALRM))
        return result

    monkeypatch.setattr(signal, call.__name__, and_alarm)
    with time_slice(500, time.monotonic()):
        pass
    with time_slice(1, time.monotonic() - 5):
        assert not threading.Event().wait(60), "nothing ended the slice"
    assert len(alarms) >= 4


def test_an_error_is_an_error():
    with pytest.raises(KeyError), time_slice(500, time.monotonic()):
        raise KeyError
