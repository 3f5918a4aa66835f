"""Items are computed ahead in their order; errors and an early end reach the other side."""

import threading
import time

import pytest

from lsabinet_ros.bag.read_ahead import read_ahead

DEADLINE_S = 10.0


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_order_and_end():
    assert list(read_ahead(range(100))) == list(range(100))
    assert list(read_ahead([])) == []


def test_items_are_computed_while_another_is_used():
    begun = []

    def work():
        for index in range(10):
            begun.append(index)
            yield index

    items = read_ahead(work(), depth=2)
    assert next(items) == 0
    # The one in use, two that wait, and one that is ready to join them.
    wait_until(lambda: len(begun) == 4)
    time.sleep(0.05)
    assert len(begun) == 4
    assert list(items) == list(range(1, 10))


def test_an_error_is_raised_after_the_items_before_it():
    def work():
        yield 1
        raise ValueError("broken")

    items = read_ahead(work())
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_leaving_early_ends_the_thread_and_closes_the_generator():
    closed = threading.Event()

    def work():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    items = read_ahead(work())
    next(items)
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before
