"""Street furniture: posts and lamps (Pole), signs and traffic lights (SignSymbol), fences (Fence), clutter (void)."""

import numpy as np

from lsabinet_core.data.scenes import masks
from lsabinet_core.data.scenes.materials import (
    BOARDS,
    BRICK,
    FACADE,
    GLAZING,
    LAMP,
    PLAIN,
    SIGN,
    Materials,
    linear,
    tinted,
)
from lsabinet_core.data.scenes.mesh import Mesh, Vector, cross, heading_axes

POLE, SIGN_SYMBOL, FENCE, BUILDING, TREE, VOID = 2, 6, 7, 1, 5, 255
_RED, _WHITE, _BLUE, _YELLOW, _GREEN, _BLACK = (
    (200, 30, 35),
    (240, 240, 238),
    (30, 80, 170),
    (240, 190, 30),
    (20, 110, 70),
    (20, 20, 20),
)
# (face, colour of the face, colour of the rim, outline: number of corners or 0 for a disc)
_SIGNS = (
    (0, _WHITE, _RED, 0),
    (0, _WHITE, _RED, 0),
    (1, _RED, _WHITE, 0),
    (0, _BLUE, _BLUE, 0),
    (1, _BLUE, _RED, 0),
    (0, _WHITE, _RED, 3),
    (0, _YELLOW, _BLACK, 4),
    (1, _RED, _WHITE, 8),
    (3, _BLUE, _WHITE, 5),
    (3, _YELLOW, _WHITE, 4),
    (4, _GREEN, _WHITE, 5),
    (4, _BLUE, _WHITE, 5),
    (4, _WHITE, _BLACK, 5),
    (4, _YELLOW, _BLACK, 5),
    (3, _BLACK, _WHITE, 5),
)


class Furniture:
    """The furniture of one scene. `lamps` collects (world position, colour, is_headlight) of lights that are on."""

    def __init__(self, rng: np.random.Generator, materials: Materials, lit: float, lamps: list):
        self.rng, self.materials, self._lit, self.lamps = rng, materials, lit, lamps
        steels = (
            (150, 152, 155),
            (90, 92, 95),
            (40, 42, 44),
            (60, 75, 65),
            (200, 200, 200),
            (120, 105, 85),
            (45, 50, 70),
        )
        self._steels = [
            materials.add(PLAIN, c, c * 0.8, 0.5, 0.12, gloss=0.04) for c in (tinted(rng, linear(*s)) for s in steels)
        ]
        self._steel = self._steels[int(rng.integers(len(steels)))]
        self._wood = materials.add(PLAIN, linear(105, 85, 65), linear(80, 65, 52), 0.3, 0.25)
        self._lamp = materials.add(
            LAMP if lit else PLAIN, (1.0, 0.8, 0.5) if lit else linear(210, 210, 205), emission=8.0
        )
        self._off = materials.add(PLAIN, linear(25, 25, 26))
        self._signals = [
            materials.add(LAMP, c, emission=3.0) for c in ((1.0, 0.05, 0.03), (1.0, 0.5, 0.05), (0.05, 0.9, 0.45))
        ]
        self._back = materials.add(PLAIN, linear(120, 122, 124))
        self._rail = materials.add(
            PLAIN,
            linear(*((40, 42, 44), (170, 172, 175), (60, 80, 65), (225, 225, 222))[int(rng.integers(4))]),
            mask=masks.RAILING,
        )
        self._mesh = materials.add(PLAIN, linear(130, 132, 134), mask=masks.MESH)
        self._glass = materials.add(GLAZING, linear(60, 70, 72), gloss=0.15)

    def lamp_post(self, mesh: Mesh, x: float, z: float, toward: float, tall: bool) -> None:
        """Add a street lamp whose arm reaches towards x + toward."""
        rng = self.rng
        height, radius = (
            (rng.uniform(6.5, 11), rng.uniform(0.05, 0.1)) if tall else (rng.uniform(3, 5), rng.uniform(0.035, 0.065))
        )
        material = self._steel if rng.random() < 0.75 else self._steels[int(rng.integers(len(self._steels)))]
        mesh.tube((x, 0, z), (x, 1.1, z), radius * 1.4, material, POLE, radius * 1.2, 8)
        mesh.tube((x, 1.1, z), (x, height, z), radius, material, POLE, radius * 0.6, 8)
        reach = float(np.sign(toward)) * rng.uniform(0.8, 2.4) if tall else 0.0
        head = np.array([x + reach, height + (rng.uniform(-0.1, 0.6) if tall else 0.2), z])
        if tall:
            mesh.tube((x, height, z), head, radius * 0.5, material, POLE, sides=6)
            mesh.box(head - (0, 0.08, 0), (0.7, 0.14, 0.28), 0.0, material, POLE)
            mesh.box(head - (0, 0.12, 0), (0.5, 0.05, 0.2), 0.0, self._lamp, POLE)
        else:
            mesh.ellipsoid(head, (0.2, 0.25, 0.2), self._lamp, POLE)
        if self._lit:
            self.lamps.append(
                (head - (0, 0.3, 0), (1.0, 0.75, 0.42) if rng.random() < 0.6 else (0.85, 0.9, 1.0), False)
            )

    def post(self, mesh: Mesh, x: float, z: float, wires: bool) -> None:
        """Add a telegraph or catenary post."""
        rng = self.rng
        height = rng.uniform(6, 10)
        mesh.tube(
            (x, 0, z),
            (x, height, z),
            rng.uniform(0.08, 0.14),
            self._wood if rng.random() < 0.5 else self._steel,
            POLE,
            0.07,
            8,
        )
        if wires:
            mesh.box((x, height - 0.8, z), (1.8, 0.1, 0.1), 0.0, self._wood, POLE)

    def bollards(self, mesh: Mesh, x: float, start: float, end: float, gap: float) -> None:
        rng = self.rng
        height, radius = rng.uniform(0.7, 1.1), rng.uniform(0.04, 0.1)
        material = self._steels[int(rng.integers(len(self._steels)))]
        for z in np.arange(start, end, gap):
            mesh.tube((x, 0, z), (x, height, z), radius, material, POLE, radius * 0.85, 8)

    def cone(self, mesh: Mesh, x: float, z: float) -> None:
        orange = self.materials.add(PLAIN, linear(230, 80, 30))
        white = self.materials.add(PLAIN, linear(235, 235, 235))
        mesh.box((x, 0, z), (0.4, 0.04, 0.4), 0.0, orange, POLE)
        mesh.tube((x, 0, z), (x, 0.35, z), 0.15, orange, POLE, 0.09, 8)
        mesh.tube((x, 0.35, z), (x, 0.5, z), 0.09, white, POLE, 0.06, 8)
        mesh.tube((x, 0.5, z), (x, 0.72, z), 0.06, orange, POLE, 0.03, 8)

    def sign(self, mesh: Mesh, x: float, z: float, facing: float = 0.0, low: bool = False) -> None:
        """Add one to three signs on a post that face the driver (facing 0) or another direction."""
        rng = self.rng
        size = rng.uniform(0.28, 0.5)
        height = rng.uniform(1.0, 1.6) if low else rng.uniform(1.9, 2.9)
        right, _, ahead = heading_axes(facing + rng.normal(0, 0.15))
        top = height
        mesh.tube((x, 0, z), (x, height + 3.2 * size, z), rng.uniform(0.03, 0.05), self._steel, POLE, sides=6)
        for _ in range(int(rng.choice([1, 2, 3], p=(0.65, 0.28, 0.07)))):
            self._plate(
                mesh, np.array([x, top + size, z]) - ahead * 0.07, right, size, _SIGNS[int(rng.integers(len(_SIGNS)))]
            )
            top += 2.1 * size

    def _plate(
        self,
        mesh: Mesh,
        center: np.ndarray,
        right: np.ndarray,
        size: float,
        look: tuple[int, tuple[int, int, int], tuple[int, int, int], int],
    ) -> None:
        face, color, rim, corners = look
        material = self.materials.add(SIGN, tinted(self.rng, linear(*color), 0.15), linear(*rim), detail=(face,))
        up = np.array([0.0, 1.0, 0.0])
        wide = 1.0
        if corners == 5:
            wide = self.rng.uniform(0.8, 2.0)
            angle = np.array([225, 315, 45, 135])
            outline = np.stack([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))], 1) * np.sqrt(2)
        elif corners == 3:
            outline = np.array([(-0.95, -0.75), (0.95, -0.75), (0, 0.95)])
        elif corners == 4:
            outline = np.array([(0, -1), (1, 0), (0, 1), (-1, 0)], float)
        else:
            angle = np.linspace(0, 2 * np.pi, (corners or 16) + 1)[:-1] + (np.pi / 8 if corners == 8 else 0)
            outline = np.stack([np.cos(angle), np.sin(angle)], 1)
        points = center + outline[:, :1] * right * size * wide + outline[:, 1:] * up * size
        normal = cross(up, right)
        index = np.arange(1, len(points) - 1)
        fan = np.stack([0 * index, index, index + 1], 1)
        seed = int(self.rng.integers(1000))
        mesh.add(points, normal, outline, fan, material, SIGN_SYMBOL, seed)
        mesh.add(points - normal * 0.02, -normal, outline, fan, self._back, SIGN_SYMBOL, seed)

    def board(self, mesh: Mesh, x: float, z: float) -> None:
        """Add a billboard or a large direction sign on two legs."""
        rng = self.rng
        wide, tall, low = rng.uniform(1.0, 4.0), rng.uniform(0.8, 2.5), rng.uniform(0.4, 2.5)
        color, rim = ((_GREEN, _WHITE), (_BLUE, _WHITE), (_WHITE, _BLACK), (tuple(rng.uniform(20, 240, 3)), _WHITE))[
            int(rng.integers(4))
        ]
        right = heading_axes(rng.normal(0, 0.3))[0]
        center = np.array([x, low + tall / 2, z])
        material = self.materials.add(SIGN, linear(*color), linear(*rim), detail=(float(rng.choice([2, 4])),))
        up = np.array([0, tall / 2, 0.0])
        half = right * wide / 2
        mesh.add(
            [center - half - up, center + half - up, center + half + up, center - half + up],
            cross(right, (0, 1, 0)),
            [(-1, -1), (1, -1), (1, 1), (-1, 1)],
            [(0, 1, 2), (0, 2, 3)],
            material,
            SIGN_SYMBOL,
            int(rng.integers(1000)),
        )
        for side in (-0.8, 0.8):
            foot = center + half * side
            mesh.tube(
                (foot[0], 0, foot[2] + 0.06), (foot[0], low + tall, foot[2] + 0.06), 0.05, self._steel, POLE, sides=6
            )

    def gantry(self, mesh: Mesh, z: float, half_width: float) -> None:
        rng = self.rng
        height = rng.uniform(5.2, 7)
        for x in (-half_width, half_width):
            mesh.tube((x, 0, z), (x, height, z), 0.12, self._steel, POLE)
        mesh.box((0, height - 0.2, z), (2 * half_width, 0.3, 0.3), 0.0, self._steel, POLE)
        for x in np.arange(-half_width + 2, half_width - 1, rng.uniform(3, 5)):
            self._plate(
                mesh,
                np.array([x, height + 0.3, z - 0.25]),
                np.array([1.0, 0, 0]),
                rng.uniform(0.7, 1.2),
                (4, _GREEN if rng.random() < 0.4 else _BLUE, _WHITE, 5),
            )

    def traffic_light(self, mesh: Mesh, x: float, z: float, overhang: float = 0.0, facing: float = 0.0) -> None:
        """Add a traffic light on a post; with `overhang`, another one over the road."""
        rng = self.rng
        height = rng.uniform(2.2, 3.0)
        mesh.tube((x, 0, z), (x, height + 0.9, z), rng.uniform(0.04, 0.065), self._steel, POLE, sides=7)
        heads = [np.array([x, height, z])]
        if overhang:
            mesh.tube((x, 0, z), (x, 5.6, z), 0.08, self._steel, POLE, sides=7)
            mesh.tube((x, 5.6, z), (x + overhang, 5.8, z), 0.06, self._steel, POLE, sides=6)
            heads.append(np.array([x + overhang, 4.9, z]))
        state = int(rng.choice([0, 0, 1, 2, 2]))
        _right, _, ahead = heading_axes(facing)
        for head in heads:
            mesh.box(head, (0.3, 0.95, 0.25), facing, self._off, SIGN_SYMBOL)
            if rng.random() < 0.3:
                mesh.box(head - (0, 0.12, 0) + ahead * 0.08, (0.6, 1.2, 0.03), facing, self._off, SIGN_SYMBOL)
            for i in range(3):
                at = head + (0, 0.78 - 0.3 * i, 0) - ahead * 0.13
                mesh.ellipsoid(
                    at, (0.1, 0.1, 0.04), self._signals[i] if i == state else self._off, SIGN_SYMBOL, rings=3, sides=8
                )

    def fence(self, mesh: Mesh, start: Vector, end: Vector, kind: str | None = None) -> None:
        """Add a fence between two points (x, z): railing, mesh, boards, palisade, wall with railing or guard rail."""
        rng = self.rng
        kind = kind or str(
            rng.choice(
                ["railing", "mesh", "boards", "wall", "guard rail", "panels"], p=(0.4, 0.12, 0.22, 0.1, 0.08, 0.08)
            )
        )
        start, end = np.array([start[0], 0, start[1]], float), np.array([end[0], 0, end[1]], float)
        along = end - start
        length = float(np.linalg.norm(along))
        if length < 0.5:
            return
        height = rng.uniform(0.9, 1.3) if kind == "railing" else rng.uniform(1.2, 2.2)
        direction = along / length
        if kind in ("railing", "mesh"):
            material = self._rail if kind == "railing" else self._mesh
            mesh.quad(start, along, (0, height, 0), material, FENCE, uv=(length / 1.1, 0.9999))
            for s in np.arange(0, length, rng.uniform(1.5, 3)):
                foot = start + direction * s
                mesh.tube(foot, foot + (0, height + 0.05, 0), 0.035, self._steel, FENCE, sides=5)
        elif kind in ("boards", "panels"):
            colors = ((140, 105, 75), (95, 75, 60), (165, 150, 130), (70, 90, 70), (225, 225, 220), (90, 60, 45))
            board = rng.uniform(0.08, 0.2) if kind == "boards" else rng.uniform(1.5, 2.5)
            color = tinted(
                rng,
                linear(*colors[int(rng.integers(6))]) if kind == "boards" else linear(*rng.uniform(60, 240, 3)),
                0.3,
            )
            material = self.materials.add(
                BOARDS, color, scale=0.6, strength=0.15, detail=(board, 0.12 if kind == "boards" else 0.02)
            )
            mesh.quad(start, along, (0, height, 0), material, FENCE, int(rng.integers(1000)))
            mesh.quad(start + (0, height, 0), along, cross(direction, (0, 1, 0)) * 0.08, material, FENCE)
        elif kind == "wall":
            color = tinted(rng, linear(*((150, 90, 65), (165, 155, 135), (190, 185, 175))[int(rng.integers(3))]), 0.25)
            pattern = BRICK if rng.random() < 0.6 else 3
            material = self.materials.add(
                FACADE, color, color, scale=0.8, strength=0.15, detail=(90, 90, 0.01, 0.01, pattern, 0, 0.01, 80)
            )
            heading = float(np.arctan2(along[0], along[2]))
            mesh.box(
                (start + end) / 2, (0.3, height * 0.6, length), heading, material, BUILDING, int(rng.integers(1000))
            )
            if rng.random() < 0.4:
                mesh.quad(
                    start + (0, height * 0.6, 0), along, (0, 0.8, 0), self._rail, FENCE, uv=(length / 1.1, 0.9999)
                )
        else:
            material = self.materials.add(
                PLAIN, linear(175, 178, 180), linear(140, 142, 145), strength=0.12, gloss=0.05
            )
            for low in (0.45, 0.62):
                mesh.quad(start + (0, low, 0), along, (0, 0.15, 0), material, FENCE)
            for s in np.arange(0, length, 2.0):
                foot = start + direction * s
                mesh.tube(foot, foot + (0, 0.75, 0), 0.06, material, FENCE, sides=4)

    def clutter(self, mesh: Mesh, x: float, z: float) -> None:
        """Add bins, benches, boxes and shelters, which annotators leave unlabelled."""
        rng = self.rng
        kind = rng.integers(4)
        color = self.materials.add(PLAIN, tinted(rng, linear(*rng.uniform(20, 200, 3)), 0.3), strength=0.15)
        if kind == 0:
            mesh.tube((x, 0, z), (x, rng.uniform(0.8, 1.2), z), rng.uniform(0.2, 0.35), color, VOID, sides=9)
        elif kind == 1:
            mesh.box(
                (x, 0, z),
                (rng.uniform(0.4, 0.8), rng.uniform(0.9, 1.6), rng.uniform(0.4, 1.2)),
                rng.uniform(0, 3),
                color,
                VOID,
            )
        elif kind == 2:
            mesh.box((x, 0.35, z), (0.5, 0.1, 1.6), 0.0, self._wood, VOID)
            mesh.box((x + 0.2, 0.4, z), (0.06, 0.5, 1.6), 0.0, self._wood, VOID)
        else:
            length = rng.uniform(3, 5)
            mesh.box((x, 2.3, z), (1.6, 0.15, length), 0.0, color, VOID)
            for s in (-1, 1):
                mesh.tube(
                    (x + 0.7, 0, z + s * length / 2),
                    (x + 0.7, 2.3, z + s * length / 2),
                    0.05,
                    self._steel,
                    VOID,
                    sides=5,
                )
            mesh.quad((x + 0.7, 0.2, z - length / 2), (0, 0, length), (0, 2.0, 0), self._glass, VOID)
