"""A street site: its road, its roadside, and the state shared by the functions that build it."""

from typing import overload

import numpy as np

from lsabinet_core.data.scenes.buildings import Buildings
from lsabinet_core.data.scenes.furniture import Furniture
from lsabinet_core.data.scenes.ground import GroundMap
from lsabinet_core.data.scenes.light import Light
from lsabinet_core.data.scenes.materials import Materials
from lsabinet_core.data.scenes.mesh import Mesh
from lsabinet_core.data.scenes.people import People
from lsabinet_core.data.scenes.plants import Plants
from lsabinet_core.data.scenes.profile import random_place, random_profile
from lsabinet_core.data.scenes.vehicles import Vehicles

VIEW_M = 104.0  # only the backdrop is farther ahead
BEHIND_M = -14.0  # start of the plots, so that houses behind the camera cast shadows


class Site:
    """A site under construction. World axes are those of the package's docstring; the camera is at z = 0.

    Attributes:
        mesh, materials, ground: the parts under construction. occluders: polygons (N, 2) of x, z that block sky light
            from the ground. lamps: (position, colour, is_headlight) of lights that are on.
        half: half width of the road, metres. lanes: lanes per direction. hand: side of the ego lane, -1 left, 1 right.
        sides: profile of each side, -1 and 1. junctions: (z, half width, side) of side roads, side 0 is a crossing.
        end: z of the road's end, beyond `VIEW_M` if it is not visible. wear: wear of the road markings, 0..1.
    """

    ground: GroundMap

    def __init__(self, rng: np.random.Generator, light: Light):
        self.rng, self.light = rng, light
        self.mesh, self.materials = Mesh(), Materials()
        self.occluders: list = []
        self.lamps: list = []
        self.place = random_place(rng)
        self.plants = Plants(rng, self.materials)
        self.buildings = Buildings(rng, self.materials)
        self.vehicles = Vehicles(rng, self.materials, light.lit, self.lamps)
        self.people = People(rng, self.materials)
        self.furniture = Furniture(rng, self.materials, light.lit, self.lamps)
        self.lanes = int(rng.choice([1, 2, 3], p=(0.72, 0.2, 0.08)))
        self.half = self.lanes * rng.uniform(2.7, 3.8) + (rng.uniform(0, 2) if rng.random() < 0.3 else 0)
        self._curve = 0.0 if rng.random() < 0.45 else rng.normal(0, 1 / 260)
        self.hand = -1 if rng.random() < 0.5 else 1
        other = random_place(rng) if rng.random() < 0.3 else self.place
        self.sides = {-1: random_profile(rng, self.place), 1: random_profile(rng, other)}
        self.junctions = self._random_junctions()
        self.end = float(rng.uniform(14, 80)) if rng.random() < 0.1 else VIEW_M + 20
        self.wear = float(rng.uniform(0, 1))
        lane_index = int(rng.integers(self.lanes))
        lane = self.hand * self.half * (lane_index + 0.5) / self.lanes
        self.camera_x = float(lane if rng.random() < 0.92 else rng.uniform(-0.5, 0.5))

    @overload
    def center(self, z: float) -> float: ...

    @overload
    def center(self, z: np.ndarray) -> np.ndarray: ...

    def center(self, z: float | np.ndarray) -> float | np.ndarray:
        """World x of the middle of the road at z, a number or an array."""
        return 0.5 * self._curve * np.asarray(z, float) ** 2

    def heading(self, z: float) -> float:
        """Direction of the road at z, radians, positive to the right."""
        return float(np.arctan(self._curve * z))

    def edge(self, side: int, z: float, beyond: float) -> float:
        """World x at a distance of `beyond` metres outside the pavement."""
        p = self.sides[side]
        return float(self.center(z) + side * (self.half + 0.2 + p.verge + p.pavement + beyond))

    def is_free(self, z0: float, z1: float, side: int) -> bool:
        """Return whether no side road lies between z0 and z1."""
        return z0 < self.end and all(s not in (0, side) or z1 < z - w or z0 > z + w for z, w, s in self.junctions)

    def car(self, x: float, z: float, heading: float, large: bool | None = None) -> float:
        """Place a car, or a large vehicle, at (x, z). Returns its length in metres."""
        big = self.rng.random() < 0.07 if large is None else large
        make = self.vehicles.large if big else self.vehicles.car
        length = make(self.mesh, float(x), float(z), float(heading))
        wide, long = 1.3 if big else 0.95, length / 2
        sin, cos = np.sin(heading), np.cos(heading)
        corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        self.occluders.append(
            [(x + a * wide * cos + b * long * sin, z - a * wide * sin + b * long * cos) for a, b in corners]
        )
        return length

    def _random_junctions(self) -> list[tuple[float, float, int]]:
        rng = self.rng
        found, z = [], rng.uniform(-10, 50)
        while z < VIEW_M:
            if rng.random() < 0.7:
                found.append((z, rng.uniform(2.6, 6.5), int(rng.choice([-1, 0, 1], p=(0.3, 0.4, 0.3)))))
            z += rng.uniform(35, 80)
        return found
