"""Positions of labels next to bubbles, without overlaps."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

DISTANCES = (3.0, 8.0, 14.0, 22.0, 32.0, 44.0, 58.0)
"""Distances from the bubble's edge to the label, tried in this order."""
ANGLES = (0, 90, 270, 180, 45, 315, 135, 225)
"""Candidate angles in degrees, anticlockwise from the right, in order of preference."""
PADDING = 2.0


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle; y points up."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Common area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the box nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)


@dataclass(frozen=True)
class Circle:
    x: float
    y: float
    radius: float

    def distance(self, box: Box) -> float:
        """Return the distance from the edge of the circle to the box; negative if they overlap."""
        return math.dist((self.x, self.y), box.nearest(self.x, self.y)) - self.radius


def place_label(
    circle: Circle, size: tuple[float, float], area: Box, labels: Iterable[Box], circles: Sequence[Circle]
) -> Box:
    """The position of a label of ``size`` (width, height): as close to its bubble as possible without an overlap.

    Without a free position, the one with the least overlap.

    Args:
        circle: the label's bubble.
        size: width and height of the label.
        area: must contain the label.
        labels: already placed.
        circles: all bubbles.
    """
    labels = list(labels)
    candidates = [_beside(circle, size, distance, angle) for distance in DISTANCES for angle in ANGLES]
    return min(candidates, key=lambda box: _hidden(box, area, labels, circles))


def _beside(circle: Circle, size: tuple[float, float], distance: float, angle: float) -> Box:
    """Return the label box that touches the circle, enlarged by ``distance``, from outside at ``angle``."""
    width, height = size
    across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    reach = circle.radius + distance
    x = circle.x + reach * across + width / 2 * _sign(across)
    y = circle.y + reach * up + height / 2 * _sign(up)
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _hidden(box: Box, area: Box, labels: list[Box], circles: Sequence[Circle]) -> float:
    """How much a label here overlaps or is cut off; 0 is a free position."""
    outside = box.area - box.overlap(area)
    over_labels = sum(box.overlap(label) for label in labels)
    over_circles = sum(max(0.0, PADDING - circle.distance(box)) for circle in circles)
    return 100 * outside + 10 * over_labels + over_circles


def _sign(value: float) -> int:
    return 0 if abs(value) < 1e-9 else int(math.copysign(1, value))
