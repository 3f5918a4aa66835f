"""Search for the highest rate at which a live node answers the frames of a bag."""

from typing import Protocol

from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.replay import Pass

ENOUGH = 0.95
"""Minimum share of answered frames for a rate that the node keeps up with."""
BISECTIONS = 4
MAX_RATE = 64.0


class Player(Protocol):
    """What the search requires of a ``ReplaySession``."""

    def play(self, bag: Bag, speed: float) -> Pass: ...


def find_rate(session: Player, bag: Bag, start: float) -> list[Pass]:
    """Play at higher rates until the node does not keep up, or at lower ones until it does, then bisect."""
    passes = []

    def keeps_up(speed: float) -> bool:
        passes.append(session.play(bag, speed))
        return passes[-1].answered_share >= ENOUGH

    good, bad = None, None
    speed = start
    while (good is None or bad is None) and start / MAX_RATE <= speed <= start * MAX_RATE:
        if keeps_up(speed):
            good = speed
        else:
            bad = speed
        speed = speed * 2 if bad is None else speed / 2
    if good is None or bad is None:
        return passes
    for _ in range(BISECTIONS):
        middle = (good * bad) ** 0.5
        if keeps_up(middle):
            good = middle
        else:
            bad = middle
    return passes
