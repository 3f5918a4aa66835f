"""Cars, vans, buses, lorries and trams. All belong to the class Car."""

from collections.abc import Iterable

import numpy as np

from lsabinet_core.data.scenes.materials import GLAZING, LAMP, PAINT, PLAIN, SIGN, Materials, linear, tinted
from lsabinet_core.data.scenes.mesh import Mesh, Vector, cross, heading_axes

CAR = 8
_PAINTS = (
    (235, 235, 235),
    (190, 192, 195),
    (140, 142, 145),
    (80, 82, 85),
    (25, 25, 28),
    (40, 55, 95),
    (140, 25, 25),
    (60, 80, 65),
    (200, 180, 150),
    (30, 90, 150),
    (200, 120, 30),
    (90, 30, 40),
    (220, 200, 60),
)
_PAINT_SHARES = np.array([0.14, 0.17, 0.13, 0.1, 0.15, 0.09, 0.08, 0.03, 0.03, 0.04, 0.015, 0.02, 0.005])

# Side view of a body: its height at four stations along its length (rear to front), and the start and end of the
# glasshouse's lower and upper edges (0 rear .. 1 front).
_SHAPES = {
    "hatch": ((0.92, 0.98, 0.92, 0.78), (0.02, 0.72, 0.12, 0.5)),
    "saloon": ((0.85, 0.9, 0.88, 0.74), (0.16, 0.72, 0.3, 0.54)),
    "estate": ((0.9, 0.95, 0.9, 0.76), (0.01, 0.72, 0.06, 0.52)),
    "suv": ((1.02, 1.08, 1.05, 0.95), (0.02, 0.74, 0.09, 0.55)),
    "van": ((1.1, 1.15, 1.12, 0.95), (0.0, 0.84, 0.0, 0.68)),
}
_SIZES = {  # length, width, height, ground clearance
    "hatch": (3.9, 1.7, 1.47, 0.2),
    "saloon": (4.6, 1.78, 1.43, 0.18),
    "estate": (4.6, 1.78, 1.48, 0.18),
    "suv": (4.6, 1.88, 1.7, 0.26),
    "van": (5.0, 1.95, 2.0, 0.24),
}
_LARGE_SIZES = {  # length, width, height
    "bus": (11, 2.5, 3.0),
    "double-decker": (10.5, 2.5, 4.3),
    "lorry": (9, 2.5, 3.7),
    "box van": (6.2, 2.1, 2.9),
    "tram": (24, 2.5, 3.5),
}


class Vehicles:
    """The vehicles of one scene. `lamps` collects (world position, colour, is_headlight) of lights that are on."""

    def __init__(self, rng: np.random.Generator, materials: Materials, lit: float, lamps: list):
        self.rng, self.materials, self._lit, self.lamps = rng, materials, lit, lamps
        self._glass = materials.add(GLAZING, linear(30, 34, 36), gloss=0.18)
        self._tyre = materials.add(PLAIN, linear(32, 32, 34), strength=0.1)
        self._rim = materials.add(PLAIN, linear(150, 150, 152), linear(70, 70, 72), strength=0.3)
        self._under = materials.add(PLAIN, linear(22, 22, 23))
        self._trim = materials.add(PLAIN, linear(45, 45, 47), gloss=0.05)
        plates = ((240, 240, 235), (230, 200, 60))
        self._plate = materials.add(SIGN, linear(*plates[int(rng.integers(2))]), linear(20, 20, 20), detail=(1,))
        dark = lit == 0
        self._tail = materials.add(
            LAMP if not dark else PLAIN, (0.9, 0.04, 0.03) if not dark else linear(150, 20, 20), emission=1.6
        )
        self._brake = materials.add(LAMP, (1.0, 0.06, 0.04), emission=1.5)
        self._head = materials.add(
            LAMP if not dark else PLAIN,
            (1.0, 0.95, 0.85) if not dark else linear(215, 220, 225),
            emission=6.0,
            gloss=0.2,
        )

    def _paint(self) -> int:
        color = _PAINTS[int(self.rng.choice(len(_PAINTS), p=_PAINT_SHARES / _PAINT_SHARES.sum()))]
        if self.rng.random() < 0.06:
            color = self.rng.uniform(10, 240, 3)
        return self.materials.add(
            PAINT,
            tinted(self.rng, linear(*color), 0.2),
            gloss=float(self.rng.uniform(0.03, 0.12)),
            strength=float(self.rng.uniform(0, 0.1)),
            scale=1.5,
        )

    def car(self, mesh: Mesh, x: float, z: float, heading: float) -> float:
        """Add a car or small van centred at (x, z). Returns its length in metres."""
        rng = self.rng
        kind = str(rng.choice(list(_SIZES), p=(0.34, 0.22, 0.14, 0.2, 0.1)))
        length, width, height, clearance = np.array(_SIZES[kind]) * rng.normal(1, 0.04, 4)
        lines, (base_rear, base_front, top_rear, top_front) = _SHAPES[kind]
        paint = self._paint()
        axes, origin = heading_axes(heading), np.array([x, 0.0, z])

        def section(share: float, low: float, high: float, half: float, round_off: float = 0.12) -> list[np.ndarray]:
            """Cross-section of the body at a station: a rounded rectangle."""
            s = (share - 0.5) * length
            inner = half * (1 - round_off)
            mid = low + 0.45 * (high - low)
            points = [
                (-inner, low),
                (inner, low),
                (half * 0.98, low + 0.1),
                (half, mid),
                (half * 0.97, high - 0.06),
                (inner * 0.95, high),
                (-inner * 0.95, high),
                (-half * 0.97, high - 0.06),
                (-half, mid),
                (-half * 0.98, low + 0.1),
            ]
            return [origin + np.array([a, b, s]) @ axes for a, b in points]

        half = width / 2
        rear, belt, cowl, nose = lines
        stations = [
            (0.0, clearance + 0.18, rear * 0.92, half * 0.86),
            (0.03, clearance, rear, half * 0.94),
            (0.2, clearance, belt, half),
            (0.7, clearance, belt, half),
            (0.78, clearance, cowl, half * 0.99),
            (0.93, clearance, nose, half * 0.94),
            (0.98, clearance + 0.05, nose * 0.9, half * 0.86),
            (1.0, clearance + 0.15, nose * 0.7, half * 0.78),
        ]
        mesh.loft([section(*s) for s in stations], paint, CAR)
        # The glasshouse: glass all around, pillars and a painted roof.
        low, high = belt * 0.97, height
        inset = rng.uniform(0.1, 0.2)
        corner = {}
        for name, share, h, w in (
            ("br", base_rear, low, half * 0.95),
            ("bf", base_front, low, half * 0.95),
            ("tr", top_rear, high, half - inset),
            ("tf", top_front, high, half - inset),
        ):
            for side in (-1, 1):
                corner[name, side] = origin + np.array([side * w, h, (share - 0.5) * length]) @ axes
        solid = paint if kind == "van" and rng.random() < 0.6 else self._glass
        for side in (-1, 1):
            out = axes[0] * side + (0, 0.4, 0)
            mesh.polygon(
                [corner["br", side], corner["bf", side], corner["tf", side], corner["tr", side]], solid, CAR, normal=out
            )
            if solid == paint:
                a, b = corner["bf", side], corner["tf", side]
                c, d = corner["br", side], corner["tr", side]
                panes = [
                    a + axes[0] * side * 0.01,
                    b + axes[0] * side * 0.01,
                    b * 0.72 + d * 0.28 + axes[0] * side * 0.01,
                    a * 0.72 + c * 0.28 + axes[0] * side * 0.01,
                ]
                mesh.polygon(panes, self._glass, CAR, normal=out)
            else:
                for share in (0.0, 0.42, 0.66, 0.97):
                    foot = corner["br", side] * (1 - share) + corner["bf", side] * share
                    head = corner["tr", side] * (1 - share) + corner["tf", side] * share
                    mesh.tube(foot, head, 0.045, paint, CAR, sides=4, cap=False)
        front, back = axes[2] + (0, 0.7, 0), -axes[2] + (0, 0.3, 0)
        mesh.polygon(
            [corner["bf", -1], corner["bf", 1], corner["tf", 1], corner["tf", -1]], self._glass, CAR, normal=front
        )
        mesh.polygon(
            [corner["br", -1], corner["br", 1], corner["tr", 1], corner["tr", -1]],
            solid if rng.random() < 0.3 else self._glass,
            CAR,
            normal=back,
        )
        roof = [corner["tr", -1], corner["tr", 1], corner["tf", 1], corner["tf", -1]]
        mesh.polygon([p + (0, 0.03, 0) for p in roof], paint, CAR, normal=(0, 1, 0))
        for a, b in ((0, 3), (1, 2), (0, 1), (3, 2)):
            mesh.tube(roof[a], roof[b], 0.05, paint, CAR, sides=5, cap=False)
        if rng.random() < 0.12:
            load = self.materials.add(PLAIN, tinted(rng, linear(60, 60, 60), 0.6))
            mesh.box(origin + (0, height + 0.04, 0), (width * 0.6, 0.3, 1.2), heading, load, CAR)
        radius = 0.2 * height + rng.uniform(0.0, 0.03)
        self._wheels(mesh, origin, axes, half, (0.19 * length, 0.81 * length), radius, length)
        belt_h = clearance + 0.45 * (nose - clearance)
        self._lights(mesh, origin, axes, length, half, belt_h + 0.12, rear * 0.78, nose)
        for side in (-1, 1):
            at = origin + np.array([side * (half + 0.08), belt + 0.06, 0.2 * length]) @ axes
            mesh.ellipsoid(at, (0.1, 0.08, 0.07), paint, CAR, axes, 3, 6)
        return float(length)

    def _wheels(
        self,
        mesh: Mesh,
        origin: np.ndarray,
        axes: np.ndarray,
        half: float,
        stations: Iterable[float],
        radius: float,
        length: float,
    ) -> None:
        for station in stations:
            for side in (-1, 1):
                middle = origin + np.array([side * half * 0.86, radius, station - length / 2]) @ axes
                outer = middle + axes[0] * side * half * 0.17
                mesh.tube(middle, outer, radius, self._tyre, CAR, sides=12)
                mesh.tube(outer, outer + axes[0] * side * 0.01, radius * 0.62, self._rim, CAR, sides=10)
        # A dark underside hides the daylight below the body.
        mesh.box(
            origin + (0, radius * 0.5, 0),
            (2 * half * 0.8, 0.3, length * 0.8),
            float(np.arctan2(axes[2][0], axes[2][2])),
            self._under,
            CAR,
        )

    def _lights(
        self,
        mesh: Mesh,
        origin: np.ndarray,
        axes: np.ndarray,
        length: float,
        half: float,
        front_h: float,
        rear_h: float,
        nose: float,
    ) -> None:
        rng = self.rng
        tail = self._brake if rng.random() < 0.25 else self._tail
        tall, wide = rng.uniform(0.1, 0.45), rng.uniform(0.14, 0.35)
        for side in (-1, 1):
            at = np.array([side * half * 0.72, front_h, length / 2 * 0.985])
            center = origin + at @ axes
            mesh.ellipsoid(center, (0.16, 0.09, 0.1), self._head, CAR, axes, 4, 6)
            if self._lit:
                self.lamps.append((center, (1.0, 0.95, 0.85), True))
            back = origin + np.array([side * half * 0.78, rear_h, -length / 2 * 0.985]) @ axes
            mesh.box(back - (0, tall / 2, 0), (wide, tall, 0.08), float(np.arctan2(axes[2][0], axes[2][2])), tail, CAR)
            if self._lit:
                self.lamps.append((back, (0.25, 0.015, 0.012), True))
        for sign, height in ((1, front_h - 0.2), (-1, rear_h - 0.12)):
            low = origin + np.array([-0.27, height - 0.06, sign * length * 0.503]) @ axes
            self._face(mesh, low, axes[0] * 0.54, np.array([0, 0.12, 0]), self._plate)
        grille = origin + np.array([-half * 0.45, front_h - 0.12, length * 0.5005]) @ axes
        self._face(mesh, grille, axes[0] * half * 0.9, np.array([0, 0.18, 0]), self._trim)

    def _face(self, mesh: Mesh, corner: np.ndarray, along: np.ndarray, up: np.ndarray, material: int) -> None:
        """Add a parallelogram whose uv range from -1 to 1."""
        normal = cross(along, up)
        mesh.add(
            [corner, corner + along, corner + along + up, corner + up],
            normal / np.linalg.norm(normal),
            [(-1, -1), (1, -1), (1, 1), (-1, 1)],
            [(0, 1, 2), (0, 2, 3)],
            material,
            CAR,
            int(self.rng.integers(1000)),
        )

    def large(self, mesh: Mesh, x: float, z: float, heading: float, kind: str | None = None) -> float:
        """Add a bus, double-decker, lorry, box van or tram. Returns its length in metres."""
        rng = self.rng
        kind = kind or str(rng.choice(list(_LARGE_SIZES), p=(0.3, 0.12, 0.28, 0.24, 0.06)))
        length, width, height = _LARGE_SIZES[kind]
        length, height = length * rng.uniform(0.85, 1.15), height * rng.uniform(0.92, 1.08)
        body = _Body(mesh, np.array([x, 0.0, z]), heading, length, width, height)
        paint = self._paint() if rng.random() < 0.5 else self._bright_paint()
        if kind in ("bus", "double-decker", "tram"):
            self._bus(body, paint, kind == "double-decker")
        else:
            self._lorry(body, paint, kind == "lorry")
        if kind != "tram":
            radius = 0.48 if kind != "box van" else 0.35
            stations = [0.14 * length, 0.8 * length] + ([0.24 * length] if kind == "lorry" else [])
            self._wheels(mesh, body.origin, body.axes, width / 2, stations, radius, length)
        self._lights(mesh, body.origin, body.axes, length * 1.008, width / 2, 0.85, 1.1, 1.0)
        return float(length)

    def _bright_paint(self) -> int:
        return self.materials.add(PAINT, tinted(self.rng, linear(*self.rng.uniform(15, 240, 3))), gloss=0.06)

    def _bus(self, body: "_Body", paint: int, two_decks: bool) -> None:
        """Add body, windows on the sides and at both ends, stripe, advertisement and destination board."""
        rng, half, length, height, low = self.rng, body.width / 2, body.length, body.height, 0.35
        body.box((0, low, 0), (body.width, height - low, length), paint)
        stripe = self._bright_paint()
        decks = [(1.1, 2.1), (2.7, 3.6)] if two_decks else [(1.1, min(2.1 * height / 3.2, height - 0.3))]
        for bottom, top in decks:
            for x in (-half - 0.01, half + 0.01):
                for s in np.arange(-length / 2 + 0.3, length / 2 - 1.2, 1.5):
                    body.pane((x, bottom, s), (x, top, s + 1.36), self._glass)
                if rng.random() < 0.5:
                    body.pane((x, low + 0.1, -length / 2), (x, low + 0.5, length / 2), stripe)
            for s in (-length / 2 - 0.01, length / 2 + 0.01):
                body.pane((-half * 0.9, bottom, s), (half * 0.9, min(top + 0.25, height - 0.2), s), self._glass)
        if rng.random() < 0.5:
            advert = self.materials.add(SIGN, tinted(rng, linear(*rng.uniform(20, 235, 3))), detail=(2,))
            foot = height * 0.62 if two_decks else low + 0.1
            for x in (-half - 0.015, half + 0.015):
                self._face(
                    body.mesh, body.at(x, foot, -length / 4), body.axes[2] * length / 2, np.array([0, 0.7, 0]), advert
                )
        board = self.materials.add(SIGN, linear(25, 25, 25), linear(20, 20, 20), detail=(4,))
        corner = body.at(-half * 0.6, height - 0.32, length / 2 + 0.02)
        self._face(body.mesh, corner, body.axes[0] * body.width * 0.6, np.array([0, 0.26, 0]), board)

    def _lorry(self, body: "_Body", paint: int, heavy: bool) -> None:
        """Add cab and load: a box with or without advertisement, a flat bed or a tank."""
        rng, half, length, height = self.rng, body.width / 2, body.length, body.height
        cab, cab_h = (1.9, height * 0.78) if heavy else (1.7, height * 0.72)
        front = length / 2
        body.box((0, 0.5, front - cab / 2), (body.width * 0.96, cab_h - 0.5, cab), paint)
        body.pane((-half * 0.85, cab_h * 0.5, front + 0.01), (half * 0.85, cab_h * 0.88, front + 0.01), self._glass)
        for x in (-half * 0.97, half * 0.97):
            body.pane((x, cab_h * 0.5, front - cab * 0.8), (x, cab_h * 0.85, front - 0.15), self._glass)
        load = rng.random()
        if load < 0.7:
            self._box_load(body, cab)
        elif load < 0.85:
            body.box((0, 0.8, -cab / 2), (body.width, 0.9, length - cab - 0.1), self._trim)
        else:
            start, end = body.at(0, height * 0.55, -front), body.at(0, height * 0.55, front - cab - 0.2)
            body.mesh.tube(start, end, height * 0.3, self._rim, CAR, sides=14)
        body.box((0, 0.45, -cab / 2), (body.width * 0.5, 0.4, length - cab), self._under)

    def _box_load(self, body: "_Body", cab: float) -> None:
        rng, half, length, height = self.rng, body.width / 2, body.length, body.height
        color = linear(225, 225, 225) if rng.random() < 0.5 else linear(*rng.uniform(20, 235, 3))
        material = self.materials.add(PLAIN, tinted(rng, color), strength=0.08, scale=2.0)
        body.box((0, 0.8, -cab / 2), (body.width, height - 0.8, length - cab - 0.1), material)
        if rng.random() < 0.5:
            return
        advert = self.materials.add(SIGN, tinted(rng, color, 0.4), detail=(float(rng.choice([2, 4])),))
        along, up = body.axes[2] * (length - cab - 0.8), np.array([0, height - 1.8, 0])
        for x in (-half - 0.01, half + 0.01):
            self._face(body.mesh, body.at(x, 1.2, -length / 2 + 0.3), along, up, advert)
        corner = body.at(-half * 0.9, 1.2, -length / 2 - 0.06)
        self._face(body.mesh, corner, body.axes[0] * body.width * 0.9, up, advert)


class _Body:
    """Coordinate frame of a large vehicle: right, up and forward from the centre of its footprint, in metres."""

    def __init__(self, mesh: Mesh, origin: np.ndarray, heading: float, length: float, width: float, height: float):
        self.mesh, self.origin, self.heading = mesh, origin, heading
        self.length, self.width, self.height = length, width, height
        self.axes = heading_axes(heading)

    def at(self, right: float, up: float, forward: float) -> np.ndarray:
        """World point."""
        return self.origin + np.array([right, up, forward]) @ self.axes

    def box(self, foot: Vector, size: Vector, material: int) -> None:
        """Add a box with the centre of its bottom face at `foot`."""
        self.mesh.box(self.at(*foot), size, self.heading, material, CAR)

    def pane(self, low: Vector, high: Vector, material: int) -> None:
        """Add an upright rectangle between two opposite corners."""
        corner, other = self.at(*low), self.at(high[0], low[1], high[2])
        self.mesh.quad(corner, other - corner, (0, high[1] - low[1], 0), material, CAR)
