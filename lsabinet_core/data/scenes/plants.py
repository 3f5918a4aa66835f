"""Trees with and without leaves, conifers, bushes and hedges. All belong to the class Tree."""

import numpy as np

from lsabinet_core.data.scenes import masks
from lsabinet_core.data.scenes.materials import LEAVES, PLAIN, Materials, linear, tinted
from lsabinet_core.data.scenes.mesh import Mesh, heading_axes

TREE, FENCE = 5, 7
_GREENS = ((75, 105, 40), (55, 85, 35), (95, 120, 55), (60, 95, 60), (110, 125, 50), (45, 70, 35))
_AUTUMN = ((170, 110, 40), (150, 75, 35), (185, 150, 60), (120, 90, 50))


class Plants:
    """Materials of the plants of one scene.

    Attributes:
        bare: share of broad-leaved trees without leaves, which depends on the season.
    """

    def __init__(self, rng: np.random.Generator, materials: Materials):
        self.rng, self.materials = rng, materials
        season = rng.choice(["summer", "autumn", "winter"], p=(0.5, 0.15, 0.35))
        self.bare = {"summer": 0.03, "autumn": 0.25, "winter": 0.85}[season]
        palette = _AUTUMN if season == "autumn" else _GREENS
        self._leaves = []
        for _ in range(3):
            colors = palette if rng.random() < 0.75 else _GREENS
            first = tinted(rng, linear(*colors[int(rng.integers(len(colors)))]), 0.3, 0.12)
            for mask in rng.choice(masks.LEAVES, 2, replace=False):
                second = first * rng.uniform(0.5, 0.85)
                self._leaves.append(materials.add(LEAVES, first, second, 0.8, 0.35, mask=int(mask)))
        bark = tinted(rng, linear(90, 78, 66), 0.35)
        self._bark = materials.add(PLAIN, bark, bark * 0.6, 0.4, 0.3)
        self._branches = [materials.add(PLAIN, bark * 0.9, bark * 0.6, 0.4, 0.2, mask=m) for m in masks.BRANCHES]
        dark = tinted(rng, linear(45, 68, 45), 0.25)
        self._needles = materials.add(LEAVES, dark, dark * 0.6, 0.6, 0.35, mask=masks.NEEDLES)
        hedge = tinted(rng, linear(60, 85, 40), 0.35, 0.12)
        self._hedge = materials.add(LEAVES, hedge, hedge * 0.5, 0.4, 0.5)
        self._hedge_cards = materials.add(LEAVES, hedge, hedge * 0.5, 0.4, 0.5, mask=masks.LEAVES[0])

    def tree(self, mesh: Mesh, x: float, z: float, large: bool) -> None:
        """Add a broad-leaved tree or, occasionally, a conifer, at a point of the ground."""
        rng = self.rng
        if rng.random() < 0.1:
            self.conifer(mesh, x, z)
        elif rng.random() < self.bare:
            self._bare_tree(mesh, x, z, rng.uniform(7, 14) if large else rng.uniform(4, 8))
        else:
            self._leafy_tree(mesh, x, z, large)

    def _leafy_tree(self, mesh: Mesh, x: float, z: float, large: bool) -> None:
        rng = self.rng
        height = rng.uniform(7, 15) if large else rng.uniform(3.5, 7)
        trunk = height * rng.uniform(0.22, 0.45)
        radius = (height - trunk) / 2 * np.array([rng.uniform(0.6, 1.1), 1.0, rng.uniform(0.6, 1.1)])
        base, middle = np.array([x, 0, z]), np.array([x, trunk + radius[1] * 0.9, z])
        lean = rng.normal(0, 0.15, 2)
        mesh.tube(
            base,
            middle + (lean[0], -radius[1] * 0.5, lean[1]),
            0.018 * height + 0.05,
            self._bark,
            TREE,
            0.01 * height,
            7,
        )
        for _ in range(4):
            end = middle + rng.normal(0, 0.45, 3) * radius
            mesh.tube(base + (0, trunk * rng.uniform(0.7, 1.0), 0), end, 0.05, self._bark, TREE, 0.02, 4)
        kind = 2 * int(rng.integers(len(self._leaves) // 2))
        lobes = middle + rng.normal(0, 0.42, (int(rng.integers(4, 9)), 3)) * radius
        for material in self._leaves[kind : kind + 2]:
            count = int(rng.integers(35, 75) if large else rng.integers(20, 40))
            direction = rng.normal(0, 1, (count, 3))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            lobe = lobes[rng.integers(len(lobes), size=count)]
            centers = lobe + direction * radius * rng.uniform(0.25, 0.62, (count, 1))
            outward = centers - middle
            outward /= np.linalg.norm(outward, axis=1, keepdims=True) + 1e-6
            self._cards(mesh, centers, 0.7 * outward + 0.3 * direction, height * rng.uniform(0.07, 0.12), material)

    def _cards(
        self, mesh: Mesh, centers: np.ndarray, normals: np.ndarray, size: float, material: int, class_id: int = TREE
    ) -> None:
        """Add leaf clumps with random orientations, so that some face the camera."""
        rng = self.rng
        count = len(centers)
        facing = rng.normal(0, 1, (count, 3))
        right = np.cross(facing, rng.normal(0, 1, (count, 3)))
        right /= np.linalg.norm(right, axis=1, keepdims=True) + 1e-9
        up = np.cross(right, facing)
        up /= np.linalg.norm(up, axis=1, keepdims=True) + 1e-9
        scale = size * rng.uniform(0.7, 1.5, (count, 1))
        mesh.cards(centers, normals, right * scale, up * scale, material, class_id, int(rng.integers(1000)))

    def _bare_tree(self, mesh: Mesh, x: float, z: float, height: float) -> None:
        rng = self.rng
        width = height * rng.uniform(0.35, 0.6)
        start = rng.uniform(0, np.pi)
        for turn in range(3):
            right, _, ahead = heading_axes(start + turn * np.pi / 3)
            material = self._branches[int(rng.integers(len(self._branches)))]
            center = np.array([[x, height / 2, z]])
            mesh.cards(center, [ahead], [right * width], [(0, height / 2, 0)], material, TREE)
        mesh.tube((x, 0, z), (x, height * 0.4, z), 0.014 * height + 0.04, self._bark, TREE, 0.03, 7)

    def conifer(self, mesh: Mesh, x: float, z: float) -> None:
        rng = self.rng
        height, radius = rng.uniform(4, 13), rng.uniform(1.0, 2.6)
        mesh.tube((x, 0, z), (x, height * 0.9, z), 0.15, self._bark, TREE, 0.04, 6)
        count = int(rng.integers(50, 110))
        level = np.sqrt(rng.uniform(0.0, 1.0, count))
        angle = rng.uniform(0, 2 * np.pi, count)
        spread = radius * level * rng.uniform(0.5, 1.0, count)
        centers = np.stack([x + spread * np.cos(angle), height * (1 - 0.92 * level), z + spread * np.sin(angle)], 1)
        normals = np.stack([np.cos(angle), 0.4 + 0 * angle, np.sin(angle)], 1)
        self._cards(mesh, centers, normals, radius * 0.32, self._needles)

    def bush(self, mesh: Mesh, x: float, z: float, size: float, class_id: int = TREE) -> None:
        rng = self.rng
        count = int(12 + 10 * size)
        direction = rng.normal(0, 1, (count, 3))
        direction[:, 1] = np.abs(direction[:, 1])
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        centers = np.array([x, 0.15 * size, z]) + direction * size * np.array([0.7, 0.6, 0.7]) * rng.uniform(
            0.4, 1, (count, 1)
        )
        material = self._leaves[int(rng.integers(len(self._leaves)))] if rng.random() < 0.7 else self._hedge_cards
        self._cards(mesh, centers, direction, 0.35 * size, material, class_id)

    def hedge(
        self,
        mesh: Mesh,
        start: tuple[float, float] | np.ndarray,
        end: tuple[float, float] | np.ndarray,
        height: float,
        depth: float,
    ) -> None:
        """Add a clipped or overgrown hedge between two points (x, z) of the ground."""
        rng = self.rng
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = np.hypot(*(end - start))
        heading = float(np.arctan2(end[0] - start[0], end[1] - start[1]))
        middle = (start + end) / 2
        mesh.box(
            (middle[0], 0, middle[1]),
            (depth, height * 0.95, length),
            heading,
            self._hedge,
            TREE,
            int(rng.integers(1000)),
        )
        count = int(length * 7)
        share = rng.uniform(0, 1, count)
        right = heading_axes(heading)[0]
        side = rng.choice([-1, 1], count)
        centers = np.stack(
            [start[0] + share * (end - start)[0], rng.uniform(0.1, height, count), start[1] + share * (end - start)[1]],
            1,
        )
        top = rng.random(count) < 0.35
        centers[top, 1] = height
        centers += right * (side * depth / 2 * np.where(top, rng.uniform(0, 1, count), 1))[:, None]
        normals = right * side[:, None] + np.array([0, 0.5, 0])
        normals[top] = (0, 1, 0)
        self._cards(mesh, centers, normals, 0.22, self._hedge_cards)
