"""Waiting in a callback that is a coroutine, while the executor runs other callbacks."""

import time
from collections.abc import Callable, Generator

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

CHECK_S = 0.1
"""How often the condition is checked."""


async def wait_in_turns(
    node: Node, group: ReentrantCallbackGroup, done: Callable[[], bool], timeout_s: float | None = None
) -> bool:
    """Wait until ``done`` returns True; what it raises ends the wait.

    Args:
        node: owns a timer while this waits.
        group: the group of the callback that waits; it must let others run meanwhile.
        done: the condition, called in the executor's thread.
        timeout_s: maximum time to wait; None waits without limit.

    Returns:
        False if the time is over.
    """
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    # The timer wakes the executor, which then continues this coroutine.
    timer = node.create_timer(CHECK_S, lambda: None, group, clock=Clock(clock_type=ClockType.STEADY_TIME))
    try:
        while not done():
            if end_s is not None and time.monotonic() > end_s:
                return False
            await _NextTurn()
        return True
    finally:
        node.destroy_timer(timer)


class _NextTurn:
    """Awaiting it lets the executor run other callbacks."""

    def __await__(self) -> Generator[None, None, None]:
        yield
