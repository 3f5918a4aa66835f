"""Houses, shops, offices, churches, bridges and building sites (Building), and the signs on them (SignSymbol)."""

import numpy as np

from lsabinet_core.data.scenes import masks
from lsabinet_core.data.scenes.materials import (
    BRICK,
    CLOTH,
    CURTAIN_WALL,
    FACADE,
    PANEL,
    PLAIN,
    PLASTER,
    ROOF,
    SHOP,
    SIGN,
    STONE,
    Materials,
    linear,
    tinted,
)
from lsabinet_core.data.scenes.mesh import Mesh, heading_axes

BUILDING, SIGN_SYMBOL = 1, 6
_WALLS = {
    PLASTER: (
        (225, 215, 195),
        (240, 240, 235),
        (215, 190, 150),
        (200, 205, 200),
        (225, 200, 170),
        (180, 190, 205),
        (240, 220, 160),
        (205, 150, 120),
    ),
    BRICK: (
        (140, 75, 55),
        (165, 100, 70),
        (120, 70, 60),
        (190, 165, 120),
        (205, 180, 140),
        (110, 95, 85),
        (95, 60, 50),
    ),
    PANEL: ((160, 160, 158), (190, 185, 175), (130, 135, 140), (205, 205, 205), (110, 90, 75)),
    STONE: ((170, 160, 140), (140, 135, 125), (195, 180, 150), (105, 100, 95), (75, 72, 70)),
}


class Buildings:
    """The buildings of one scene; `lit` is the share of windows that are lit at night."""

    def __init__(self, rng: np.random.Generator, materials: Materials):
        self.rng, self.materials = rng, materials
        tones = ((120, 75, 60), (85, 85, 90), (60, 60, 65), (150, 90, 65), (105, 100, 95))
        self._roofs = [
            materials.add(
                ROOF,
                tinted(rng, linear(*tones[int(rng.integers(len(tones)))])),
                scale=0.5,
                strength=0.12,
                detail=(0.3,),
            )
            for _ in range(3)
        ]
        self._flat = materials.add(PLAIN, tinted(rng, linear(110, 110, 110)), strength=0.2)
        self._chimney = materials.add(PLAIN, tinted(rng, linear(120, 70, 55)), strength=0.2)
        self._site = materials.add(PLAIN, linear(110, 112, 115), strength=0.1, mask=masks.SCAFFOLD)
        self._rail = materials.add(
            PLAIN, linear(60, 60, 62) if rng.random() < 0.7 else linear(200, 200, 200), mask=masks.RAILING
        )

    def facade(self, kind: str | None = None) -> tuple[int, float]:
        """A random facade: (material, height of a storey in metres)."""
        rng = self.rng
        storey = float(rng.uniform(2.6, 3.9))
        kind = kind or str(rng.choice(["windows", "glass", "blank"], p=(0.82, 0.12, 0.06)))
        if kind == "glass":
            tint = tinted(
                rng, linear(*((70, 90, 100), (60, 70, 75), (90, 110, 115), (50, 75, 90))[int(rng.integers(4))]), 0.3
            )
            frame = linear(*(3 * (rng.uniform(30, 220),)))
            detail = (rng.uniform(0.8, 2.2), storey, rng.uniform(0.05, 0.15), rng.uniform(0.1, 0.7))
            return self.materials.add(
                CURTAIN_WALL, tint * 0.5, frame, gloss=rng.uniform(0.2, 0.6), detail=detail
            ), storey
        pattern = int(rng.choice([PLASTER, BRICK, PANEL, STONE], p=(0.4, 0.34, 0.12, 0.14)))
        palette = _WALLS[pattern]
        wall = tinted(rng, linear(*palette[int(rng.integers(len(palette)))]), 0.25)
        frame = linear(*(3 * (rng.uniform(190, 245) if rng.random() < 0.7 else rng.uniform(25, 90),)))
        bay = float(rng.uniform(1.8, 4.2))
        wide = bay * float(rng.uniform(0.3, 0.75 if rng.random() < 0.7 else 0.95))
        high = storey * float(rng.uniform(0.4, 0.68))
        if kind == "blank":
            bay, wide, high = 60.0, 0.6, 0.6
        sill = float(rng.uniform(0.7, 0.95)) if high < storey - 1.0 else storey - high - 0.25
        detail = (bay, storey, wide, high, pattern, rng.uniform(0.05, 0.6), rng.uniform(0.04, 0.14), sill)
        return self.materials.add(
            FACADE, wall, frame, scale=1.2, strength=rng.uniform(0.04, 0.2), detail=detail
        ), storey

    def house(self, mesh: Mesh, x: float, z: float, width: float, depth: float, heading: float, tall: bool) -> None:
        """Add a building whose front is centred at (x, z) and faces backwards along `heading`.

        Args:
            width: along the front. depth: behind the front. heading: direction of the axis into the building.
        """
        rng = self.rng
        facade, storey = self.facade()
        floors = int(rng.integers(3, 9) if tall else rng.integers(1, 5))
        height = floors * storey + rng.uniform(0.2, 0.9)
        right, _, ahead = heading_axes(heading)
        center = np.array([x, 0, z]) + ahead * depth / 2
        seed = int(rng.integers(1 << 20))
        shop = rng.random() < (0.45 if tall else 0.3)
        base = 0.0
        if shop:
            base = float(rng.uniform(2.9, 4.2))
            bright = tinted(rng, linear(*rng.uniform(20, 235, 3)), 0.2)
            front = float(rng.uniform(3, 8))
            detail = (front, base, rng.uniform(0.4, 1.0), rng.uniform(0.6, 1.0))
            material = self.materials.add(SHOP, bright, scale=1.0, strength=0.08, detail=detail)
            mesh.box(center, (width, base, depth), heading, material, BUILDING, seed)
            if rng.random() < 0.45:
                self._awnings(mesh, np.array([x, base * 0.8, z]), right, ahead, width)
        if rng.random() < (0.6 if shop else 0.1):
            self._signs(mesh, np.array([x, max(base, 2.6), z]), right, ahead, width)
        mesh.box(center + (0, base, 0), (width, height, depth), heading, facade, BUILDING, seed, self._flat)
        top = base + height
        if rng.random() < (0.3 if tall else 0.75):
            self._roof(mesh, center + (0, top, 0), right, ahead, width, depth)
        elif rng.random() < 0.5:
            mesh.box(
                center + (0, top, 0), (width + 0.3, rng.uniform(0.2, 0.9), depth + 0.3), heading, self._flat, BUILDING
            )
        if rng.random() < 0.25:
            self._balconies(mesh, np.array([x, base, z]), right, ahead, width, storey, floors)
        if rng.random() < 0.2:
            # A bay or porch in front of the facade.
            at = np.array([x, 0, z]) + right * rng.uniform(-0.35, 0.35) * width
            mesh.box(
                at,
                (rng.uniform(1.5, 3.5), rng.uniform(2.6, top), 1.6),
                heading,
                facade,
                BUILDING,
                seed + 1,
                self._roofs[0],
            )
        if rng.random() < 0.05:
            self._scaffold(mesh, np.array([x, 0, z]) - ahead * 1.2, right, width, top)

    def _roof(
        self, mesh: Mesh, center: np.ndarray, right: np.ndarray, ahead: np.ndarray, width: float, depth: float
    ) -> None:
        """Add a pitched roof with its ridge along or across the street, with gables, chimneys and eaves."""
        rng = self.rng
        material = self._roofs[int(rng.integers(3))]
        rise = rng.uniform(1.5, 4.0)
        over = rng.uniform(0.1, 0.6)
        along, across, length, span = (
            (right, ahead, width, depth) if rng.random() < 0.65 else (ahead, right, depth, width)
        )
        hip = rng.uniform(0, 0.3) * length if rng.random() < 0.3 else -over
        ridge = [center + along * s * (length / 2 - hip) + (0, rise, 0) for s in (-1, 1)]
        eaves = [
            [center + along * s * (length / 2 + over) + across * t * (span / 2 + over) for s in (-1, 1)]
            for t in (-1, 1)
        ]
        for (first, second), t in zip(eaves, (-1, 1)):
            slope = across * t * rise + np.array([0, span / 2, 0])
            mesh.polygon([first, second, ridge[1], ridge[0]], material, BUILDING, normal=slope)
        wall = self.facade("blank")[0]
        for s, end in zip((0, 1), ridge):
            outward = along * (-1, 1)[s]
            mesh.polygon(
                [eaves[0][s], eaves[1][s], end],
                material if hip > 0 else wall,
                BUILDING,
                normal=outward + (0, 0.3 * (hip > 0), 0),
            )
        for _ in range(int(rng.integers(0, 3))):
            at = center + along * rng.uniform(-0.45, 0.45) * length + across * rng.uniform(-0.2, 0.2) * span
            mesh.box(at, (0.7, rise + rng.uniform(0.6, 1.4), 0.6), 0.0, self._chimney, BUILDING)

    def _awnings(self, mesh: Mesh, middle: np.ndarray, right: np.ndarray, ahead: np.ndarray, width: float) -> None:
        rng = self.rng
        detail = (rng.uniform(0.15, 0.4),) if rng.random() < 0.6 else (0.0,)
        first, second = (tinted(rng, linear(*rng.uniform(30, 230, 3))) for _ in range(2))
        material = self.materials.add(CLOTH, first, second, detail=detail)
        reach, size = rng.uniform(0.8, 1.8), rng.uniform(2, 5)
        for start in np.arange(-width / 2, width / 2 - size, size + rng.uniform(0, 2)):
            corner = middle + right * start
            mesh.quad(corner, -ahead * reach - (0, 0.5, 0), right * (size - 0.3), material, BUILDING)
            mesh.quad(corner - ahead * reach - (0, 0.75, 0), right * (size - 0.3), (0, 0.25, 0), material, BUILDING)

    def _signs(self, mesh: Mesh, middle: np.ndarray, right: np.ndarray, ahead: np.ndarray, width: float) -> None:
        """Add signs that project from the facade across the pavement or lie flat on it."""
        rng = self.rng
        for _ in range(int(rng.integers(1, 4))):
            face = float(rng.choice([2, 4, 0], p=(0.4, 0.4, 0.2)))
            color, rim = linear(*rng.uniform(15, 240, 3)), linear(*(3 * (rng.choice([20, 235]),)))
            material = self.materials.add(SIGN, tinted(rng, color), rim, detail=(face,))
            at = middle + right * rng.uniform(-0.48, 0.48) * width + (0, rng.uniform(0, 1.8), 0)
            wide, high = rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.7)
            across = -ahead if rng.random() < 0.7 else right
            at = at - ahead * (0.15 + (wide if across is not right else 0))
            corners = [at - across * wide, at + across * wide, at + across * wide + (0, 2 * high, 0)]
            corners.append(at - across * wide + (0, 2 * high, 0))
            normal = right if across is not right else -ahead
            uv = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
            seed = int(rng.integers(1000))
            mesh.add(corners, normal, uv, [(0, 1, 2), (0, 2, 3)], material, SIGN_SYMBOL, seed)

    def _balconies(
        self,
        mesh: Mesh,
        middle: np.ndarray,
        right: np.ndarray,
        ahead: np.ndarray,
        width: float,
        storey: float,
        floors: int,
    ) -> None:
        rng = self.rng
        step, size = rng.uniform(3, 6), rng.uniform(1.5, 2.8)
        solid = rng.random() < 0.4
        for floor in range(1, floors):
            for start in np.arange(-width / 2 + 0.5, width / 2 - size, step):
                corner = middle + right * start + (0, floor * storey, 0) - ahead * 1.1
                mesh.box(
                    corner + right * size / 2 + ahead * 0.55,
                    (size, 0.15, 1.1),
                    float(np.arctan2(ahead[0], ahead[2])),
                    self._flat,
                    BUILDING,
                )
                mesh.quad(
                    corner,
                    right * size,
                    (0, 1.0, 0),
                    self._flat if solid else self._rail,
                    BUILDING,
                    uv=(size / 1.2, 1.0),
                )

    def _scaffold(self, mesh: Mesh, middle: np.ndarray, right: np.ndarray, width: float, height: float) -> None:
        mesh.quad(
            middle - right * width / 2, right * width, (0, height, 0), self._site, BUILDING, uv=(width / 4, height / 4)
        )
        if self.rng.random() < 0.5:
            net = self.materials.add(PLAIN, tinted(self.rng, linear(90, 140, 110), 0.3), strength=0.15)
            mesh.quad(
                middle - right * width / 2 + (0, height * 0.4, 0), right * width, (0, height * 0.6, 0), net, BUILDING
            )

    def tower(self, mesh: Mesh, x: float, z: float) -> None:
        """Add a church or a tower with a spire, battlements or a flat top."""
        rng = self.rng
        pattern = tinted(rng, linear(*_WALLS[STONE][int(rng.integers(5))]), 0.2)
        stone = self.materials.add(
            FACADE, pattern, pattern * 0.6, scale=1.0, strength=0.2, detail=(4.0, 7.0, 1.0, 3.0, STONE, 0.1, 0.1, 2.0)
        )
        side, height = rng.uniform(5, 9), rng.uniform(14, 32)
        heading = rng.uniform(0, np.pi)
        mesh.box((x, 0, z), (side, height, side), heading, stone, BUILDING)
        right, _, ahead = heading_axes(heading)
        top = np.array([x, height, z])
        if rng.random() < 0.5:
            tip = top + (0, rng.uniform(6, 16), 0)
            corners = [top + (right * a + ahead * b) * side / 2 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
            for i in range(4):
                mesh.polygon([corners[i], corners[(i + 1) % 4], tip], self._roofs[0], BUILDING)
        else:
            for a in (-1, -0.33, 0.33, 1):
                for b in (-1, 1):
                    mesh.box(top + (right * a + ahead * b) * side * 0.46, (0.8, 1.2, 0.8), heading, stone, BUILDING)
        mesh.box((x + side, 0, z + 6), (side * 1.6, height * 0.4, 18), heading, stone, BUILDING, 3)

    def bridge(self, mesh: Mesh, z: float, half_road: float) -> None:
        """Add a bridge or an elevated railway across the road, on piers beside it."""
        rng = self.rng
        height, depth = rng.uniform(4.8, 8), rng.uniform(3, 9)
        color = tinted(
            rng, linear(*((150, 148, 142), (110, 110, 112), (120, 80, 65), (85, 105, 95))[int(rng.integers(4))]), 0.2
        )
        deck = self.materials.add(PLAIN, color, color * 0.7, 2.0, 0.2)
        mesh.box((0, height, z + depth / 2), (90, rng.uniform(0.8, 2.2), depth), 0.0, deck, BUILDING)
        if rng.random() < 0.6:
            lattice = self.materials.add(PLAIN, color * 0.7, mask=masks.LATTICE)
            material = self._rail if rng.random() < 0.5 else lattice
            for side in (0, depth):
                mesh.quad((-45, height + 1.5, z + side), (90, 0, 0), (0, 1.3, 0), material, BUILDING, uv=(60, 1))
        for x in (-half_road - rng.uniform(1, 5), half_road + rng.uniform(1, 5)):
            mesh.box(
                (x, 0, z + depth / 2), (rng.uniform(0.8, 3.0), height, depth * rng.uniform(0.3, 1)), 0.0, deck, BUILDING
            )
        if rng.random() < 0.4:
            for z_pier in np.arange(z + depth + 8, z + 60, 12):
                mesh.tube((half_road + 2, 0, z_pier), (half_road + 2, height, z_pier), 0.6, deck, BUILDING)

    def tunnel(self, mesh: Mesh, start: float, end: float, half_width: float) -> None:
        """Add walls and a ceiling around the road."""
        rng = self.rng
        color = tinted(rng, linear(150, 145, 135), 0.4)
        wall = self.materials.add(PLAIN, color, color * 0.7, 1.5, 0.15, detail=())
        height = rng.uniform(4.8, 6.5)
        for side in (-1, 1):
            mesh.quad((side * half_width, 0, start), (0, 0, end - start), (0, height, 0), wall, BUILDING)
        mesh.quad((-half_width, height, start), (2 * half_width, 0, 0), (0, 0, end - start), wall, BUILDING)
