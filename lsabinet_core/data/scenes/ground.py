"""The ground as a map seen from above: surfaces, their classes, and road markings."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from lsabinet_core.data.scenes.materials import linear, tinted
from lsabinet_core.data.street.textures import noise

CELL_M = 0.07
ORIGIN = (-45.0, -4.0)  # world x and z of the map's first cell
EXTENT = (90.0, 110.0)
ROAD, PAVEMENT, TREE, VOID = 3, 4, 5, 255


@dataclass(frozen=True)
class Surface:
    """A surface: linear RGB, contrast of its noise, maximum wetness (0..1) and class."""

    color: tuple[float, float, float]
    rough: float
    wet: float
    class_id: int


class GroundMap:
    """A map on which surfaces are painted in order, each over the previous ones, with the markings on top.

    Coordinates are world (x, z) in metres.
    """

    def __init__(self, rng: np.random.Generator, base: Surface):
        self.rng = rng
        size = (int(EXTENT[1] / CELL_M), int(EXTENT[0] / CELL_M))
        self._surfaces = [base]
        self._ids = np.zeros(size, np.uint8)
        self._paint = np.zeros(size, np.uint8)  # coverage
        self._paint_color = np.zeros((*size, 3), np.uint8)
        self._tone = np.full(size, 128, np.uint8)

    def surface(self, surface: Surface) -> int:
        self._surfaces.append(surface)
        return len(self._surfaces) - 1

    def fill(self, points: ArrayLike, surface: int) -> None:
        """Cover a polygon (N, 2)."""
        cv2.fillPoly(self._ids, [_cells(points)], surface, shift=4)

    def strip(self, left: np.ndarray, right: np.ndarray, z: np.ndarray, surface: int) -> None:
        """Cover the area between two lines x = left and x = right, arrays over z."""
        self.fill(np.concatenate([np.stack([left, z], 1), np.stack([right, z], 1)[::-1]]), surface)

    def disc(self, center: tuple[float, float], radius: float, surface: int) -> None:
        angle = np.linspace(0, 2 * np.pi, 40)
        self.fill(np.stack([center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)], 1), surface)

    def mark(self, points: ArrayLike, color: tuple[int, int, int] = (255, 255, 255)) -> None:
        """Paint a polygon (N, 2)."""
        cells = [_cells(points)]
        cv2.fillPoly(self._paint, cells, 255, shift=4, lineType=cv2.LINE_AA)
        cv2.fillPoly(self._paint_color, cells, color, shift=4)

    def line(
        self,
        points: ArrayLike,
        width: float,
        color: tuple[int, int, int] = (255, 255, 255),
        dash: tuple[float, float] | None = None,
    ) -> None:
        """Paint along a polyline; `dash` is (length, gap) in metres."""
        points = np.asarray(points, np.float64)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        position = np.concatenate([[0], np.cumsum(steps)])
        if dash is None:
            pieces = [points]
        else:
            pieces = []
            for start in np.arange(self.rng.uniform(-dash[1], 0), position[-1], sum(dash)):
                at = np.array([max(start, 0), min(start + dash[0], position[-1])])
                if at[1] > at[0]:
                    pieces.append(np.stack([np.interp(at, position, points[:, k]) for k in (0, 1)], 1))
        for piece in pieces:
            along = np.gradient(piece, axis=0)
            across = np.stack([-along[:, 1], along[:, 0]], 1)
            across *= width / 2 / (np.linalg.norm(across, axis=1, keepdims=True) + 1e-9)
            self.mark(np.concatenate([piece + across, (piece - across)[::-1]]), color)

    def stain(self, points: ArrayLike, tone: float) -> None:
        """Darken or lighten a polygon (patches, tyre marks, manholes); `tone` is 0.5..1.5."""
        cv2.fillPoly(self._tone, [_cells(points)], int(np.clip(128 * tone, 40, 220)), shift=4)

    def joints(self, surface: int, across: float, along: float, tone: float) -> None:
        """Darken the joints of slabs of `across` x `along` metres on a surface."""
        lines = np.zeros(self._ids.shape, bool)
        for at in np.arange(self.rng.uniform(0, along), EXTENT[1], along):
            lines[min(int(at / CELL_M), lines.shape[0] - 1)] = True
        for at in np.arange(self.rng.uniform(0, across), EXTENT[0], across):
            lines[:, min(int(at / CELL_M), lines.shape[1] - 1)] = True
        self._tone[lines & (self._ids == surface)] = int(128 * tone)

    def render(self, wear: float) -> tuple[np.ndarray, np.ndarray]:
        """Compose the map.

        Args:
            wear: wear of the markings, from 0 (fresh paint) to 1 (nearly gone).

        Returns:
            (float32 (H, W, 6): albedo RGB, 0, noise contrast and wetness; uint8 (H, W): classes)
        """
        colors = np.array([s.color for s in self._surfaces], np.float32)
        others = np.array([(0.0, s.rough, s.wet) for s in self._surfaces], np.float32)
        ground = np.concatenate([colors, others], 1)[self._ids]
        ground[..., :3] *= (self._tone.astype(np.float32) / 128)[..., None]
        rows, columns = np.nonzero(self._paint)
        shift = self.rng.integers(0, 512, 2)
        worn = noise(0.7)[(rows + shift[0]) % 512, (columns + shift[1]) % 512]
        share = self._paint[rows, columns] / 255.0 * np.clip(1.6 - 1.9 * wear + 0.5 * worn, 0, 1)
        paint = (self._paint_color[rows, columns] / 255.0) ** 2.2
        ground[rows, columns, :3] = ground[rows, columns, :3] * (1 - share[:, None]) + paint * share[:, None] * 0.85
        classes = np.array([s.class_id for s in self._surfaces], np.uint8)[self._ids]
        return ground, classes


def _cells(points: ArrayLike) -> np.ndarray:
    return np.rint((np.asarray(points, np.float64) - ORIGIN) / CELL_M * 16).astype(np.int32)


def asphalt(rng: np.random.Generator) -> Surface:
    tone = rng.choice([rng.uniform(50, 85), rng.uniform(85, 130), rng.uniform(130, 180)], p=(0.3, 0.45, 0.25))
    color = linear(tone * rng.uniform(0.95, 1.06), tone, tone * rng.uniform(0.92, 1.08))
    return Surface(tuple(color), float(rng.uniform(0.03, 0.16)), 1.0, ROAD)


def road_surface(rng: np.random.Generator) -> Surface:
    """Mostly asphalt; also concrete, cobbles, coloured lanes, earth."""
    kind = rng.random()
    if kind < 0.82:
        return asphalt(rng)
    if kind < 0.9:
        return Surface(tuple(tinted(rng, linear(165, 160, 150), 0.15)), 0.07, 0.9, ROAD)
    if kind < 0.96:
        return Surface(tuple(tinted(rng, linear(110, 105, 100), 0.25)), 0.3, 0.9, ROAD)
    return Surface(tuple(tinted(rng, linear(135, 110, 85), 0.25)), 0.22, 0.5, ROAD)


def pavement_surface(rng: np.random.Generator) -> Surface:
    colors = (
        (150, 145, 138),
        (120, 118, 116),
        (175, 165, 150),
        (150, 110, 95),
        (95, 95, 98),
        (185, 180, 175),
        (140, 125, 100),
    )
    color = colors[int(rng.integers(len(colors)))]
    return Surface(tuple(tinted(rng, linear(*color), 0.25)), float(rng.uniform(0.04, 0.18)), 0.7, PAVEMENT)


def grass_surface(rng: np.random.Generator) -> Surface:
    colors = ((90, 120, 50), (70, 95, 45), (120, 130, 70), (160, 145, 95), (105, 100, 65), (80, 110, 40))
    color = colors[int(rng.integers(len(colors)))]
    return Surface(tuple(tinted(rng, linear(*color), 0.25)), float(rng.uniform(0.18, 0.4)), 0.1, TREE)


def kerb_surface(rng: np.random.Generator) -> Surface:
    tone = rng.uniform(110, 205)
    return Surface(tuple(linear(tone, tone, tone * rng.uniform(0.93, 1.0))), 0.06, 0.6, PAVEMENT)
