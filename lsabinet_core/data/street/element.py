"""Base class of all street elements, and motion as a pure function of time."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cmp_to_key
from typing import overload

import cv2
import numpy as np

from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.light import Light

VIEW_M = 110.0  # nothing further away than this is drawn


@dataclass(frozen=True)
class Course:
    """Centre line of the street, x = amplitude (sin(wave z + phase) - sin(phase)), in metres."""

    amplitude: float = 0.0
    wave: float = 0.0
    phase: float = 0.0

    @overload
    def center(self, s: float) -> float: ...

    @overload
    def center(self, s: np.ndarray) -> np.ndarray: ...

    def center(self, s: float | np.ndarray) -> float | np.ndarray:
        """World x of the centre line at street position s, a number or an array."""
        if self.amplitude == 0.0:
            return np.zeros_like(s) if isinstance(s, np.ndarray) else 0.0
        return self.amplitude * (np.sin(self.wave * s + self.phase) - float(np.sin(self.phase)))

    def heading(self, s: float) -> float:
        """Radians, positive to the right."""
        return float(np.arctan(self.amplitude * self.wave * np.cos(self.wave * s + self.phase)))

    def world(self, s: float, d: float, y: float = 0.0) -> np.ndarray:
        """World point of street coordinates."""
        return np.array([self.center(s) + d, y, s])


@dataclass(frozen=True)
class Motion:
    """Even motion in street coordinates: metres, metres per second, seconds.

    Motion across the street (`d_speed`) runs from `start_s` until the lateral position `d_end` is reached.
    """

    s: float
    d: float
    speed: float = 0.0
    d_speed: float = 0.0
    start_s: float = 0.0
    d_end: float = 0.0
    sway_m: float = 0.0

    def at(self, time_s: float) -> tuple[float, float]:
        s = self.s + self.speed * time_s + self.sway_m * float(np.sin(0.4 * time_s))
        if self.d_speed == 0.0:
            return s, self.d
        crossed = self.d_speed * max(0.0, time_s - self.start_s)
        return s, self.d + float(np.sign(crossed)) * min(abs(crossed), abs(self.d_end - self.d))

    def walked(self, time_s: float) -> float:
        """Metres covered since time 0."""
        s, d = self.at(time_s)
        return abs(s - self.s) + abs(d - self.d)

    def is_crossing(self, time_s: float) -> bool:
        return self.d_speed != 0.0 and time_s >= self.start_s and abs(self.at(time_s)[1] - self.d_end) > 1e-6


class Element(ABC):
    """Something that is drawn in one piece.

    A subclass has `extent`, its half length along the street in metres, and `motion`.
    """

    extent: float
    motion: Motion

    @abstractmethod
    def draw(self, canvas: Canvas, course: Course, time_s: float) -> None:
        """Paint the element as it is at that time."""

    def shadows(self, course: Course, light: Light, time_s: float) -> list[np.ndarray]:
        """Convex polygons (N, 2) of world x, z on the ground that the sun does not reach."""
        return []

    def footprint(self, course: Course, time_s: float) -> np.ndarray | None:
        """Convex polygon (N, 2) of world x, z under a body close to the ground, always dark; None for none."""
        return None


def far_to_near(elements: list[Element], camera_d: float, time_s: float) -> list[Element]:
    """Painter's order for a camera that looks along the street.

    Of two elements side by side, the one further from the camera's own track can only be the hidden one.
    """
    placed = []
    for element in elements:
        s, d = element.motion.at(time_s)
        placed.append((s - element.extent, s + element.extent, abs(d - camera_d), element))

    def compare(a: tuple[float, float, float, Element], b: tuple[float, float, float, Element]) -> int:
        if a[0] >= b[1]:
            return -1
        if b[0] >= a[1]:
            return 1
        return -1 if a[2] > b[2] else 1 if a[2] < b[2] else 0

    # Starting from one fixed order keeps the result stable from frame to frame.
    placed.sort(key=lambda item: -item[1])
    return [item[3] for item in sorted(placed, key=cmp_to_key(compare))]


def cast(points: np.ndarray, height: float, light: Light) -> np.ndarray:
    """Ground polygon between a footprint (N, 2) and its shadow from `height` metres: their convex hull."""
    both = np.concatenate([points, points + height * np.array(light.shadow_shift)]).astype(np.float32)
    return cv2.convexHull(both)[:, 0].astype(np.float64)


def axes(heading: float) -> np.ndarray:
    """3x3; rows are the right, up and forward unit vectors, in the world, of something with this heading."""
    sin, cos = np.sin(heading), np.cos(heading)
    return np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])


def upright_shadow(point: np.ndarray, width: float, height: float, light: Light) -> np.ndarray:
    """Shadow on the ground of a narrow upright body, as an (4, 2) polygon of world x, z."""
    shift = height * np.array(light.shadow_shift)
    across = np.array([-shift[1], shift[0]]) / (np.hypot(*shift) + 1e-6) * width / 2
    base = point[[0, 2]]
    return np.array([base - across, base + across, base + shift + across, base + shift - across])
