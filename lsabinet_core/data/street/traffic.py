"""Cars, cyclists and pedestrians of a random street, and how they move."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lsabinet_core.data.street.element import Element, Motion
from lsabinet_core.data.street.ground import KERB_M, Ground
from lsabinet_core.data.street.people import Cyclist, Pedestrian
from lsabinet_core.data.street.vehicles import SHAPES, Car

_PAINTS = (
    (40, 40, 175),
    (150, 85, 35),
    (190, 192, 195),
    (60, 58, 56),
    (225, 228, 230),
    (125, 128, 130),
    (55, 95, 45),
    (40, 150, 195),
    (105, 50, 40),
    (115, 140, 165),
)
_SKINS = ((135, 165, 215), (110, 140, 190), (75, 100, 145), (50, 65, 95))
_HAIRS = ((35, 40, 45), (45, 70, 100), (110, 160, 190), (150, 150, 150), (30, 45, 75))

Option = TypeVar("Option")


def _pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    return options[int(rng.integers(len(options)))]


def _cloth(rng: np.random.Generator) -> tuple[float, float, float]:
    if rng.random() < 0.45:
        grey = rng.uniform(35, 215)
        return (grey * rng.uniform(0.9, 1.15), grey, grey * rng.uniform(0.9, 1.1))
    return tuple(rng.uniform(30, 200, 3))


def add_traffic(
    rng: np.random.Generator,
    elements: list[Element],
    ground: Ground,
    hand: int,
    lane: float,
    speed: float,
    length: float,
    duration_s: float,
) -> None:
    """Fill the street with road users.

    Args:
        hand: side of the road that traffic keeps to, -1 left, 1 right.
        lane: lateral position of the camera, metres. speed: of the camera, metres per second.
        duration_s: duration of the camera's drive in seconds; 0 for a still image.
    """
    parked = _parked(rng, elements, ground, lane, length)
    _moving(rng, elements, lane, speed, length, duration_s)
    _cyclists(rng, elements, ground, hand, speed, length, duration_s, parked)
    _pedestrians(rng, elements, ground, speed, length, duration_s)


def _kind(rng: np.random.Generator) -> str:
    return str(rng.choice(list(SHAPES), p=(0.3, 0.24, 0.16, 0.18, 0.12)))


def _paint(rng: np.random.Generator) -> tuple[float, float, float]:
    return tuple(np.array(_pick(rng, _PAINTS)) * rng.uniform(0.8, 1.1))


def _parked(
    rng: np.random.Generator, elements: list[Element], ground: Ground, lane: float, length: float
) -> dict[int, float]:
    """Park cars along the kerbs where the road is wide enough; returns the width they take on each side."""
    taken = {-1: 0.0, 1: 0.0}
    for side in (-1, 1):
        # Keep 1.3 m between the camera's track and the cars.
        room = ground.half_road - 0.25 - 1.9 - (abs(lane) if side * lane > 0 else 0.0)
        if room < 1.3 or rng.random() < 0.25:
            continue
        taken[side] = 2.1
        s = float(rng.uniform(-4, 12))
        while s < length:
            kind = _kind(rng)
            middle = s + SHAPES[kind].length / 2
            d = side * (ground.half_road - 0.2 - SHAPES[kind].width / 2)
            elements.append(Car(Motion(middle, d), kind, _paint(rng), reverse=bool(rng.random() < 0.25)))
            s += SHAPES[kind].length + (float(rng.uniform(0.8, 2)) if rng.random() < 0.5 else float(rng.uniform(5, 22)))
    return taken


def _moving(
    rng: np.random.Generator, elements: list[Element], lane: float, speed: float, length: float, duration_s: float
) -> None:
    ahead = float(rng.uniform(9, 30))
    if duration_s or rng.random() < 0.65:
        elements.append(Car(Motion(ahead, lane, speed, sway_m=2.0 if speed else 0.0), _kind(rng), _paint(rng)))
        s = ahead + float(rng.uniform(9, 25))
        while s < min(length, 110):
            elements.append(Car(Motion(s, lane, speed), _kind(rng), _paint(rng)))
            s += float(rng.uniform(9, 40))
    # Oncoming cars are spread so far that some are still to come when the drive ends.
    towards = -7.0 if speed else 0.0
    s = float(rng.uniform(7, 25))
    while s < length - 10 + duration_s * abs(towards):
        d = -lane * float(rng.uniform(0.85, 0.97))
        elements.append(Car(Motion(s, d, towards), _kind(rng), _paint(rng), reverse=True))
        s += float(rng.uniform(9, 40))


def _cyclists(
    rng: np.random.Generator,
    elements: list[Element],
    ground: Ground,
    hand: int,
    speed: float,
    length: float,
    duration_s: float,
    parked: dict[int, float],
) -> None:
    def rider(motion: Motion, heading: float) -> Cyclist:
        bright = rng.random() < 0.35
        vest = _pick(rng, ((60, 225, 215), (40, 130, 245), (90, 235, 150)))
        return Cyclist(
            motion=motion,
            heading=heading,
            top=vest if bright else _cloth(rng),
            legs=_cloth(rng),
            skin=_pick(rng, _SKINS),
            helmet=_pick(rng, ((225, 228, 230), (45, 45, 200), (40, 40, 42), (200, 110, 40), (60, 210, 225))),
            frame=tuple(rng.uniform(30, 210, 3)),
            phase=float(rng.uniform(0, 6)),
        )

    for direction in (hand, -hand):
        away = direction == hand
        pace = (4.5 if away else -4.5) if speed else 0.0
        offset = ground.half_road - 0.55 - (1.75 if parked[direction] else 0.0)
        s = float(rng.uniform(7, 16))
        reach = length if away or not speed else length + duration_s * 4.5
        while s < reach:
            motion = Motion(s, direction * (offset - float(rng.uniform(0, 0.25))), pace)
            elements.append(rider(motion, 0.0 if away else np.pi))
            s += float(rng.uniform(9, 27))
    # Riders who cross show the bicycle from the side.
    if not speed:
        for _ in range(int(rng.integers(0, 3))):
            s, d = float(rng.uniform(8, 24)), float(rng.uniform(-1.1, 1.1)) * ground.half_road
            heading = float(rng.choice([-1, 1])) * float(rng.uniform(0.9, 2.1))
            elements.append(rider(Motion(s, d), heading))
    else:
        for s in np.arange(46.0, speed * duration_s, 34.0):
            start = (s - 46.0) / speed
            side = int(rng.choice([-1, 1]))
            edge = ground.half_road + 1.0
            motion = Motion(s, side * edge, 0.0, -side * 3.0, start, -side * edge)
            elements.append(rider(motion, -side * np.pi / 2))


def _pedestrians(
    rng: np.random.Generator, elements: list[Element], ground: Ground, speed: float, length: float, duration_s: float
) -> None:
    def person(motion: Motion, heading: float, foot: float = KERB_M) -> Pedestrian:
        child = rng.random() < 0.12
        return Pedestrian(
            motion=motion,
            heading=heading,
            height=float(rng.uniform(1.25, 1.45) if child else rng.uniform(1.62, 1.92)),
            top=_cloth(rng),
            legs=tuple(np.array(_cloth(rng)) * 0.7),
            skin=_pick(rng, _SKINS),
            hair=_pick(rng, _HAIRS),
            coat=bool(rng.random() < 0.3),
            bag=_cloth(rng) if rng.random() < 0.35 else None,
            phase=float(rng.uniform(0, 6)),
            foot=foot,
        )

    for side in (-1, 1):
        wide = ground.pavement[(side + 1) // 2]
        s = float(rng.uniform(6, 14))
        while s < length:
            for _ in range(int(rng.choice([1, 1, 2, 2]))):
                d = side * (ground.half_road + float(rng.uniform(0.75, wide - 0.35)))
                towards = rng.random() < 0.5
                pace = 1.3 * float(rng.uniform(0.8, 1.15)) * (-1 if towards else 1)
                heading = (np.pi if towards else 0.0) + float(rng.normal(0, 0.25))
                if rng.random() < 0.15:
                    pace, heading = 0.0, float(rng.uniform(0, 2 * np.pi))
                motion = Motion(s + float(rng.uniform(-0.7, 0.7)), d, pace if speed else pace * 1e-6)
                elements.append(person(motion, heading))
            s += float(rng.uniform(4, 12))
    count = max(0, int(speed * duration_s / 30) - 2) if speed else int(rng.integers(0, 3))
    for index in range(count):
        side = int(rng.choice([-1, 1]))
        edge = ground.half_road + 0.8
        if speed:
            s = 80.0 + 30.0 * index
            motion = Motion(s, side * edge, 0.0, -side * 1.5, (s - 80.0) / speed, -side * edge)
        else:
            motion = Motion(float(rng.uniform(9, 24)), float(rng.uniform(-0.9, 0.9)) * ground.half_road)
        elements.append(person(motion, -side * np.pi / 2, foot=0.0))
