"""Triangle meshes: an accumulator and the primitives that make up a scene."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

Vector = Sequence[float] | np.ndarray
"""A point or a direction, (3,)."""


def cross(a: Vector, b: Vector) -> np.ndarray:
    """Cross product of two vectors (3,); numpy's function takes ten times as long for such small inputs."""
    ax, ay, az = a
    bx, by, bz = b
    return np.array((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))


def _unit(vector: Vector) -> np.ndarray:
    x, y, z = vector
    return np.asarray(vector, np.float64) / (math.sqrt(x * x + y * y + z * z) + 1e-12)


class Mesh:
    """Collects triangles part by part.

    `arrays` returns: vertices float64 (V, 3) in metres, normals float32 (V, 3) of unit length, uv float32 (V, 2) in
    metres along the surface (or 0..1 for masks), triangles int32 (T, 3), materials int32 (T,), rows of the material
    table, classes uint8 (T,), and seeds int32 (T,), which vary the appearance of equal materials.
    """

    def __init__(self):
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._vertices = 0

    def add(
        self,
        vertices: ArrayLike,
        normals: ArrayLike,
        uv: ArrayLike,
        triangles: ArrayLike,
        material: int,
        class_id: int,
        seed: int = 0,
    ) -> None:
        """Append a part; `triangles` are indices of the part's own vertices."""
        vertices = np.asarray(vertices, np.float64)
        triangles = np.asarray(triangles, np.int32)
        count = len(triangles)
        self._parts.append(
            (
                vertices,
                np.broadcast_to(np.asarray(normals, np.float32), vertices.shape),
                np.broadcast_to(np.asarray(uv, np.float32), (len(vertices), 2)),
                triangles + self._vertices,
                np.full(count, material, np.int32),
                np.full(count, class_id, np.uint8),
                np.full(count, seed, np.int32),
            )
        )
        self._vertices += len(vertices)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """(vertices, normals, uv, triangles, materials, classes, seeds) of all parts."""
        return tuple(np.ascontiguousarray(np.concatenate(column)) for column in zip(*self._parts))

    def quad(
        self,
        corner: Vector,
        along: Vector,
        up: Vector,
        material: int,
        class_id: int,
        seed: int = 0,
        uv: tuple[float, float] | None = None,
        normal: Vector | None = None,
    ) -> None:
        """Add a parallelogram; uv range from (0, 0) at `corner` to the side lengths in metres, or to a given (u, v)."""
        corner, along, up = (np.asarray(v, np.float64) for v in (corner, along, up))
        if normal is None:
            normal = _unit(cross(along, up))
        width, height = uv if uv is not None else (math.dist(along, _ORIGIN), math.dist(up, _ORIGIN))
        self.add(
            [corner, corner + along, corner + along + up, corner + up],
            normal,
            [(0, 0), (width, 0), (width, height), (0, height)],
            [(0, 1, 2), (0, 2, 3)],
            material,
            class_id,
            seed,
        )

    def box(
        self,
        center: Vector,
        size: Vector,
        heading: float,
        material: int,
        class_id: int,
        seed: int = 0,
        top: int | None = None,
    ) -> None:
        """Add an upright box.

        Args:
            center: centre of the bottom face. size: (width across, height, length along the heading).
            heading: radians, positive to the right. top: material of the top face, if it differs.
        """
        right, up, ahead = (axis * extent for axis, extent in zip(heading_axes(heading), size))
        base = np.asarray(center, np.float64) - (right + ahead) / 2
        self.quad(base, right, up, material, class_id, seed)
        self.quad(base + right + ahead, -right, up, material, class_id, seed)
        self.quad(base + ahead, -ahead, up, material, class_id, seed)
        self.quad(base + right, ahead, up, material, class_id, seed)
        self.quad(base + up, right, ahead, material if top is None else top, class_id, seed)

    def tube(
        self,
        start: Vector,
        end: Vector,
        radius: float,
        material: int,
        class_id: int,
        end_radius: float | None = None,
        sides: int = 6,
        seed: int = 0,
        cap: bool = True,
    ) -> None:
        """Add a cylinder or cone frustum between two points."""
        start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
        axis = end - start
        length = np.linalg.norm(axis)
        if length < 1e-6:
            return
        axis /= length
        side = _unit(cross(axis, (0.0, 0.0, 1.0) if abs(axis[1]) > 0.9 else (0.0, 1.0, 0.0)))
        angles, circle, triangles, fan = _ring(sides)
        around = circle @ np.stack([side, cross(axis, side)])
        last = radius if end_radius is None else end_radius
        vertices = np.concatenate([start + around * radius, end + around * last])
        uv = np.zeros((2 * sides + 2, 2), np.float32)
        uv[:, 0] = np.tile(angles * radius, 2)
        uv[sides + 1 :, 1] = length
        self.add(vertices, np.concatenate([around, around]), uv, triangles, material, class_id, seed)
        if cap and last > 0.02:
            self.add(end + around[:-1] * last, axis, np.zeros(2), fan, material, class_id, seed)

    def ellipsoid(
        self,
        center: Vector,
        radii: Vector,
        material: int,
        class_id: int,
        axes: ArrayLike | None = None,
        rings: int = 5,
        sides: int = 8,
        seed: int = 0,
    ) -> None:
        """Add an ellipsoid with half axes `radii` along the rows of `axes` (default: the world's)."""
        axes = np.eye(3) if axes is None else np.asarray(axes)
        polar = np.linspace(0, np.pi, rings + 1)
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        unit = np.stack(
            [
                np.outer(np.sin(polar), np.cos(angles)).ravel(),
                np.repeat(np.cos(polar), sides + 1),
                np.outer(np.sin(polar), np.sin(angles)).ravel(),
            ],
            1,
        )
        vertices = (unit * np.asarray(radii)) @ axes + np.asarray(center)
        normals = (unit / np.asarray(radii)) @ axes
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        uv = np.stack([np.tile(angles, rings + 1) * radii[0], np.repeat(polar, sides + 1) * radii[1]], 1)
        self.add(vertices, normals, uv, _grid(rings, sides), material, class_id, seed)

    def loft(self, sections: ArrayLike, material: int, class_id: int) -> None:
        """Add the closed surface of a body, spanned over its cross-sections (S, N, 3), with smooth normals."""
        sections = np.asarray(sections, np.float64)
        sections = np.concatenate([sections, sections[:, :1]], 1)
        count, around = sections.shape[:2]
        along_vector = np.gradient(sections, axis=0)
        around_vector = np.empty_like(sections)
        around_vector[:, 1:-1] = sections[:, 2:] - sections[:, :-2]
        around_vector[:, 0] = around_vector[:, -1] = sections[:, 1] - sections[:, -2]
        normals = np.cross(along_vector, around_vector)
        normals /= np.linalg.norm(normals, axis=2, keepdims=True) + 1e-9
        center = sections.mean(axis=(0, 1))
        if np.sum(normals * (sections - center)) < 0:
            normals = -normals
        u = np.cumsum(np.linalg.norm(np.diff(sections, axis=1, prepend=sections[:, :1]), axis=2), axis=1)
        v = np.cumsum(np.linalg.norm(np.diff(sections, axis=0, prepend=sections[:1]), axis=2), axis=0)
        self.add(
            sections.reshape(-1, 3),
            normals.reshape(-1, 3),
            np.stack([u.ravel(), v.ravel()], 1),
            _grid(count - 1, around - 1),
            material,
            class_id,
        )
        for section, sign in ((sections[0, :-1], -1), (sections[-1, :-1], 1)):
            self.polygon(section, material, class_id, normal=sign * (sections[-1].mean(0) - sections[0].mean(0)))

    def polygon(
        self, points: ArrayLike, material: int, class_id: int, seed: int = 0, normal: Vector | None = None
    ) -> None:
        """Add a convex polygon as a triangle fan; uv are coordinates along its first edge and perpendicular to it."""
        points = np.asarray(points, np.float64)
        first = points[1] - points[0]
        first = first / (np.linalg.norm(first) + 1e-9)
        if normal is None:
            normal = cross(points[1] - points[0], points[2] - points[0])
        normal = _unit(normal)
        second = cross(normal, first)
        local = points - points[0]
        index = np.arange(1, len(points) - 1)
        self.add(
            points,
            normal,
            np.stack([local @ first, local @ second], 1),
            np.stack([0 * index, index, index + 1], 1),
            material,
            class_id,
            seed,
        )

    def cards(
        self,
        centers: ArrayLike,
        normals: ArrayLike,
        rights: ArrayLike,
        ups: ArrayLike,
        material: int,
        class_id: int,
        seed: int = 0,
    ) -> None:
        """Add many rectangles at once; uv cover 0..1, so that cut-out masks apply.

        Args:
            centers, rights, ups: (N, 3); rights and ups are half sides. normals: (N, 3), used for shading only.
        """
        centers, rights, ups = (np.asarray(v, np.float64) for v in (centers, rights, ups))
        count = len(centers)
        vertices = np.stack(
            [centers - rights - ups, centers + rights - ups, centers + rights + ups, centers - rights + ups], 1
        )
        uv = np.tile(np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32), (count, 1))
        first = 4 * np.arange(count)[:, None]
        triangles = np.concatenate([first + (0, 1, 2), first + (0, 2, 3)])
        self.add(vertices.reshape(-1, 3), np.repeat(normals, 4, axis=0), uv, triangles, material, class_id, seed)


_ORIGIN = (0.0, 0.0, 0.0)


@lru_cache(maxsize=32)
def _ring(sides: int) -> tuple[np.ndarray, ...]:
    """Angles and unit circle of a tube's ends, triangles of its wall and of its cap."""
    angles = np.linspace(0, 2 * np.pi, sides + 1)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    index, n = np.arange(sides), sides + 1
    wall = np.concatenate(
        [np.stack([index, index + 1, index + n + 1], 1), np.stack([index, index + n + 1, index + n], 1)]
    )
    fan = np.stack([np.zeros(sides - 2, int), np.arange(1, sides - 1), np.arange(2, sides)], 1)
    return angles, circle, wall, fan


def heading_axes(heading: float) -> np.ndarray:
    """Rows are the right, up and forward unit vectors of an object with this heading."""
    sin, cos = np.sin(heading), np.cos(heading)
    return np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])


def _grid(rows: int, columns: int) -> np.ndarray:
    """Triangles of a (rows + 1) x (columns + 1) grid of vertices."""
    row, column = (a.ravel() for a in np.mgrid[:rows, :columns])
    first = row * (columns + 1) + column
    below = first + columns + 1
    return np.concatenate([np.stack([first, below, below + 1], 1), np.stack([first, below + 1, first + 1], 1)])
