"""People on foot, with prams and bags, and riders of bicycles and motorcycles."""

from collections.abc import Callable

import numpy as np

from lsabinet_core.data.scenes import masks
from lsabinet_core.data.scenes.materials import CLOTH, LAMP, PAINT, PLAIN, Materials, linear, tinted
from lsabinet_core.data.scenes.mesh import Mesh, heading_axes

PEDESTRIAN, BICYCLIST = 9, 10
_SKIN = ((240, 205, 180), (225, 180, 150), (190, 140, 105), (130, 90, 65), (85, 58, 45))
_HAIR = ((35, 28, 25), (80, 55, 35), (150, 115, 70), (120, 118, 115), (20, 20, 22))


class People:
    """The people of one scene; in the cold season their clothes are mostly dark."""

    def __init__(self, rng: np.random.Generator, materials: Materials):
        self.rng, self.materials = rng, materials
        self._dark = rng.uniform(0.3, 0.8)
        self._skin = [materials.add(PLAIN, linear(*color), strength=0.05) for color in _SKIN]
        self._hair = [materials.add(PLAIN, linear(*color), strength=0.15) for color in _HAIR]
        self._tyre = materials.add(PLAIN, linear(28, 28, 30))
        self._spokes = materials.add(PLAIN, linear(70, 70, 72), mask=masks.SPOKES)
        self._metal = materials.add(PLAIN, linear(130, 132, 135))

    def _cloth(self) -> int:
        rng = self.rng
        if rng.random() < self._dark:
            color = linear(*(np.array([1, 1, 1.1]) * rng.uniform(18, 80)))
        else:
            color = linear(*rng.uniform(20, 240, 3))
        stripe = rng.uniform(0.03, 0.1) if rng.random() < 0.1 else 0.0
        return self.materials.add(
            CLOTH, tinted(rng, color), linear(*rng.uniform(20, 240, 3)), detail=(stripe,), strength=0.12
        )

    def walker(self, mesh: Mesh, x: float, z: float, heading: float) -> None:
        """Add one person standing or walking."""
        rng = self.rng
        tall = rng.uniform(0.95, 1.35) if rng.random() < 0.1 else rng.normal(1.72, 0.09)
        stride = rng.uniform(-0.32, 0.32) if rng.random() < 0.75 else rng.uniform(-0.05, 0.05)
        coat, legs, skin = self._cloth(), self._cloth(), self._skin[int(rng.choice(5, p=(0.35, 0.25, 0.18, 0.12, 0.1)))]
        self._figure(mesh, np.array([x, 0.0, z]), heading, tall, stride, coat, legs, skin, PEDESTRIAN)
        if rng.random() < 0.06:
            self._pram(mesh, x, z, heading)

    def _figure(
        self,
        mesh: Mesh,
        origin: np.ndarray,
        heading: float,
        tall: float,
        stride: float,
        coat: int,
        legs: int,
        skin: int,
        class_id: int,
        lean: float = 0.0,
    ) -> None:
        rng = self.rng
        axes = heading_axes(heading)
        bulk = rng.normal(1.0, 0.12)

        def at(a: float, b: float, s: float) -> np.ndarray:
            return origin + np.array([a, b * tall, s]) @ axes

        hip, shoulder = 0.52, 0.82
        skirt = rng.random() < 0.12
        for side, step in ((-1, stride), (1, -stride)):
            knee = at(side * 0.08, 0.28, step * 0.5 + 0.03)
            foot = at(side * 0.08, 0.03, step)
            leg = skin if skirt and rng.random() < 0.6 else legs
            mesh.tube(at(side * 0.09, hip, 0), knee, 0.085 * bulk, legs, class_id, 0.065, 7)
            mesh.tube(knee, foot, 0.06, leg, class_id, 0.045, 6)
            mesh.ellipsoid(foot + axes[2] * 0.06, (0.05, 0.045, 0.13), legs, class_id, axes, 3, 6)
        if skirt:
            mesh.tube(at(0, 0.3, 0), at(0, hip + 0.05, 0), 0.24, coat, class_id, 0.15, 9)
        long = rng.uniform(0.3, 0.48)
        ring = np.linspace(0, 2 * np.pi, 10)[:-1]
        sections = []
        for share, wide, deep in (
            (hip - (0.12 if long < 0.38 else 0.02), 0.19, 0.14),
            (hip + 0.06, 0.18, 0.13),
            (0.68, 0.19, 0.13),
            (0.78, 0.215, 0.12),
            (shoulder + 0.015, 0.13, 0.09),
            (0.86, 0.06, 0.06),
        ):
            shift = lean * (share - hip)
            sections.append([at(wide * bulk * np.cos(a), share, deep * bulk * np.sin(a) + shift) for a in ring])
        mesh.loft(sections, coat, class_id)
        head_at = at(0, 0.93, lean * (0.93 - hip) + 0.02)
        mesh.tube(at(0, shoulder, lean * (shoulder - hip)), head_at, 0.055, skin, class_id, sides=6)
        mesh.ellipsoid(head_at, (0.078, 0.068 * tall, 0.095), skin, class_id, axes, 5, 8)
        hair = self._hair[int(rng.integers(5))]
        mesh.ellipsoid(
            head_at + axes[1] * 0.025 - axes[2] * 0.02,
            (0.09, 0.066 * tall, 0.1),
            hair if rng.random() < 0.85 else coat,
            class_id,
            axes,
            5,
            8,
        )
        for side, swing in ((-1, -stride), (1, stride)):
            top = at(side * 0.2 * bulk, shoulder - 0.02, lean * (shoulder - hip))
            elbow = at(side * 0.26 * bulk, 0.64, swing * 0.35 + lean * 0.2)
            hand = at(side * 0.24, 0.5, swing * 0.8 + 0.06 + lean * 0.5)
            if lean > 0.3:
                elbow, hand = at(side * 0.24, 0.68, 0.25 + lean * 0.25), at(side * 0.22, 0.6, 0.5)
            mesh.tube(top, elbow, 0.058 * bulk, coat, class_id, 0.048, 6)
            mesh.tube(elbow, hand, 0.045, coat, class_id, 0.035, 6)
            mesh.ellipsoid(hand, (0.04, 0.06, 0.04), skin, class_id, axes, 3, 5)
            if lean == 0 and rng.random() < 0.15:
                mesh.box(hand - (0, 0.4, 0), (0.12, 0.35, 0.3), heading, self._cloth(), class_id)
        if rng.random() < 0.2:
            mesh.ellipsoid(at(0, 0.7, -0.2 + lean * 0.15), (0.16, 0.24, 0.12), self._cloth(), class_id, axes, 4, 7)

    def _pram(self, mesh: Mesh, x: float, z: float, heading: float) -> None:
        axes = heading_axes(heading)
        origin = np.array([x, 0.0, z]) + axes[2] * 0.75
        mesh.box(origin + (0, 0.45, 0), (0.45, 0.45, 0.75), heading, self._cloth(), PEDESTRIAN)
        for a in (-0.22, 0.22):
            for s in (-0.3, 0.3):
                middle = origin + np.array([a, 0.12, s]) @ axes
                mesh.tube(middle, middle + axes[0] * 0.04, 0.12, self._tyre, PEDESTRIAN, sides=9)
                mesh.tube(middle, origin + (0, 0.5, 0), 0.015, self._metal, PEDESTRIAN, sides=4)

    def bicycle(self, mesh: Mesh, x: float, z: float, heading: float, rider: bool, lean: float = 0.0) -> None:
        """Add a bicycle, ridden or parked."""
        rng = self.rng
        axes = heading_axes(heading)
        if lean:
            right, up, ahead = axes
            axes = np.stack([right * np.cos(lean) + up * np.sin(lean), up * np.cos(lean) - right * np.sin(lean), ahead])
        origin = np.array([x, 0.0, z])
        radius = rng.uniform(0.3, 0.36)
        frame = self.materials.add(PAINT, tinted(rng, linear(*rng.uniform(15, 235, 3)), 0.3), gloss=0.05)

        def at(a: float, b: float, s: float) -> np.ndarray:
            return origin + np.array([a, b, s]) @ axes

        for s in (-0.52, 0.52):
            corner = at(0, 0, s - radius)
            mesh.quad(corner, axes[2] * 2 * radius, axes[1] * 2 * radius, self._spokes, BICYCLIST, uv=(0.9999, 0.9999))
            # Seen from the front, a wheel is only as wide as its tyre.
            mesh.box(at(0, 0.01, s), (0.045, 2 * radius - 0.02, 0.03), heading, self._tyre, BICYCLIST)
        hub_r, hub_f, crank, seat, head = (
            at(0, radius, -0.52),
            at(0, radius, 0.52),
            at(0, 0.28, -0.05),
            at(0, 0.88, -0.2),
            at(0, 0.86, 0.36),
        )
        for a, b in ((hub_r, crank), (hub_r, seat), (crank, seat), (crank, head), (seat, head), (head, hub_f)):
            mesh.tube(a, b, 0.024, frame, BICYCLIST, sides=5, cap=False)
        bar = at(0, 1.0, 0.38)
        mesh.tube(head, bar, 0.02, self._metal, BICYCLIST, sides=5)
        mesh.tube(at(-0.28, 1.02, 0.34), at(0.28, 1.02, 0.34), 0.02, self._metal, BICYCLIST, sides=5)
        mesh.box(at(0, 0.92, -0.25), (0.14, 0.06, 0.25), heading, self._tyre, BICYCLIST)
        if rng.random() < 0.25:
            mesh.box(
                at(0, 0.75, 0.62 if rng.random() < 0.5 else -0.55), (0.36, 0.25, 0.3), heading, self._metal, BICYCLIST
            )
        if rider:
            self._rider(mesh, at, axes, heading, rng.uniform(0.25, 0.7), 0.95)

    def _rider(
        self,
        mesh: Mesh,
        at: Callable[[float, float, float], np.ndarray],
        axes: np.ndarray,
        heading: float,
        lean: float,
        seat: float,
    ) -> None:
        rng = self.rng
        coat, legs, skin = self._cloth(), self._cloth(), self._skin[int(rng.choice(5, p=(0.35, 0.25, 0.18, 0.12, 0.1)))]
        phase = rng.uniform(0, 2 * np.pi)
        for side, turn in ((-1, phase), (1, phase + np.pi)):
            pedal = at(side * 0.12, 0.3 + 0.16 * np.sin(turn), -0.02 + 0.16 * np.cos(turn))
            knee = at(side * 0.13, 0.68 + 0.1 * np.sin(turn), 0.22 + 0.06 * np.cos(turn))
            mesh.tube(at(side * 0.1, seat, -0.2), knee, 0.085, legs, BICYCLIST, 0.065, 7)
            mesh.tube(knee, pedal, 0.06, legs, BICYCLIST, 0.045, 6)
            mesh.ellipsoid(pedal + axes[2] * 0.05, (0.05, 0.045, 0.13), legs, BICYCLIST, axes, 3, 6)
        ring = np.linspace(0, 2 * np.pi, 10)[:-1]
        sections = []
        for share, wide, deep in ((0.0, 0.19, 0.15), (0.35, 0.18, 0.14), (0.75, 0.22, 0.13), (1.0, 0.12, 0.09)):
            sections.append(
                [
                    at(
                        wide * np.cos(a),
                        seat + 0.55 * share * np.cos(lean),
                        -0.22 + 0.55 * share * np.sin(lean) + deep * np.sin(a),
                    )
                    for a in ring
                ]
            )
        mesh.loft(sections, coat, BICYCLIST)
        top = at(0, seat + 0.55 * np.cos(lean), -0.2 + 0.55 * np.sin(lean))
        head = top + axes[1] * 0.2 + axes[2] * 0.08
        mesh.tube(top, head, 0.05, skin, BICYCLIST, sides=6)
        mesh.ellipsoid(head, (0.08, 0.12, 0.1), skin, BICYCLIST, axes, 5, 8)
        hat = (
            self.materials.add(PLAIN, linear(*rng.uniform(15, 240, 3)))
            if rng.random() < 0.6
            else self._hair[int(rng.integers(5))]
        )
        mesh.ellipsoid(head + axes[1] * 0.05, (0.1, 0.09, 0.12), hat, BICYCLIST, axes, 4, 8)
        for side in (-1, 1):
            mesh.tube(top + axes[0] * side * 0.17, at(side * 0.27, 1.05, 0.3), 0.05, coat, BICYCLIST, 0.04, 6)
        if rng.random() < 0.3:
            mesh.ellipsoid(
                top - axes[2] * 0.2 - axes[1] * 0.15, (0.16, 0.22, 0.12), self._cloth(), BICYCLIST, axes, 4, 7
            )

    def motorcycle(self, mesh: Mesh, x: float, z: float, heading: float, rider: bool, lamps: list, lit: float) -> None:
        rng = self.rng
        axes = heading_axes(heading)
        origin = np.array([x, 0.0, z])
        paint = self.materials.add(PAINT, tinted(rng, linear(*rng.uniform(15, 235, 3)), 0.3), gloss=0.08)

        def at(a: float, b: float, s: float) -> np.ndarray:
            return origin + np.array([a, b, s]) @ axes

        for s in (-0.62, 0.65):
            mesh.tube(at(-0.06, 0.3, s), at(0.06, 0.3, s), 0.3, self._tyre, BICYCLIST, sides=12)
        mesh.ellipsoid(at(0, 0.55, 0.05), (0.19, 0.24, 0.5), paint, BICYCLIST, axes, 5, 8)
        mesh.ellipsoid(at(0, 0.78, -0.4), (0.15, 0.1, 0.45), self._tyre, BICYCLIST, axes, 4, 7)
        mesh.ellipsoid(at(0, 0.85, 0.45), (0.17, 0.22, 0.18), paint, BICYCLIST, axes, 4, 7)
        mesh.tube(at(0, 0.3, 0.65), at(0, 0.95, 0.4), 0.05, self._metal, BICYCLIST, sides=5)
        mesh.tube(at(-0.35, 1.0, 0.35), at(0.35, 1.0, 0.35), 0.03, self._metal, BICYCLIST, sides=5)
        lamp = self.materials.add(LAMP if lit else PLAIN, (1.0, 0.95, 0.85), emission=6.0)
        mesh.ellipsoid(at(0, 0.85, 0.64), (0.08, 0.08, 0.04), lamp, BICYCLIST, axes, 3, 6)
        if lit:
            lamps.append((at(0, 0.85, 0.7), (1.0, 0.95, 0.85), True))
        if rider:
            self._rider(mesh, at, axes, heading, rng.uniform(0.1, 0.45), 0.85)
