"""The ground of a site: surfaces, islands, patches and markings."""

import numpy as np

from lsabinet_core.data.scenes.ground import (
    ROAD,
    GroundMap,
    Surface,
    asphalt,
    grass_surface,
    kerb_surface,
    pavement_surface,
    road_surface,
)
from lsabinet_core.data.scenes.materials import linear, tinted
from lsabinet_core.data.scenes.roadside import fence_along
from lsabinet_core.data.scenes.site import VIEW_M, Site


def paint_ground(site: Site) -> None:
    rng, half = site.rng, site.half
    base = {"park": grass_surface, "country": grass_surface}.get(site.place) or (
        grass_surface if rng.random() < 0.35 else pavement_surface
    )
    ground = site.ground = GroundMap(rng, base(rng))
    z = np.linspace(-4, 106, 111)
    mid = site.center(z)
    road = ground.surface(road_surface(rng))
    kerb = ground.surface(kerb_surface(rng))
    kerb_wide = rng.uniform(0.1, 0.35)
    for side, profile in site.sides.items():
        edge = half
        if profile.pavement or profile.verge:
            ground.strip(mid + side * edge, mid + side * (edge + kerb_wide), z, kerb)
            edge += kerb_wide
        if profile.verge:
            verge = ground.surface(grass_surface(rng))
            ground.strip(mid + side * edge, mid + side * (edge + profile.verge), z, verge)
            edge += profile.verge
        if profile.pavement:
            pavement = ground.surface(pavement_surface(rng))
            ground.strip(mid + side * edge, mid + side * (edge + profile.pavement), z, pavement)
            if rng.random() < 0.5:
                ground.joints(pavement, rng.uniform(0.4, 1.2), rng.uniform(0.4, 1.5), rng.uniform(0.65, 0.9))
            edge += profile.pavement
        if profile.setback > 1:
            kind = rng.random()
            plot = (
                grass_surface(rng)
                if kind < 0.6 or profile.houses < 0.4
                else (asphalt(rng) if site.place == "retail" else pavement_surface(rng))
            )
            ground.strip(mid + side * edge, mid + side * (edge + profile.setback), z, ground.surface(plot))
    ground.strip(mid - half, mid + half, z, road)
    for at, wide, side in site.junctions:
        reach_left, reach_right = (-45 if side <= 0 else 0), (45 if side >= 0 else 0)
        x = site.center(at)
        corner = rng.uniform(1, 6)
        ground.fill(
            [
                (x + reach_left, at - wide),
                (x + reach_right, at - wide),
                (x + reach_right, at + wide),
                (x + reach_left, at + wide),
            ],
            road,
        )
        for s in (-1, 1):
            if side in (0, s):
                for t in (-1, 1):
                    a = np.array([x + s * half, at + t * wide])
                    ground.fill(
                        [
                            a - (s * 0.5, t * 0.5),
                            a + (s * corner, 0) - (0, t * 0.5),
                            a + (s * corner * 0.3, t * corner * 0.3),
                            a + (0, t * corner) - (s * 0.5, 0),
                        ],
                        road,
                    )
    if site.end < VIEW_M:
        ground.fill(
            [(-45, site.end - 2 * site.half), (45, site.end - 2 * site.half), (45, site.end), (-45, site.end)], road
        )
        ground.fill([(-45, site.end), (45, site.end), (45, 106), (-45, 106)], ground.surface(pavement_surface(rng)))
    _island(site, road, kerb)
    _patches(site)
    _markings(site, z, mid)


def _island(site: Site, road: int, kerb: int) -> None:
    """Add a refuge, a median or a roundabout."""
    rng, kind = site.rng, site.rng.random()
    ground = site.ground
    if kind < 0.12 and site.half > 4:
        start, length = rng.uniform(6, 60), rng.uniform(3, 12)
        x, wide = site.center(start), rng.uniform(0.5, 1.0)
        ground.fill(
            [(x - wide, start), (x + wide, start), (x + wide, start + length), (x - wide, start + length)], kerb
        )
        inner = ground.surface(pavement_surface(rng))
        ground.fill(
            [
                (x - wide + 0.2, start + 0.2),
                (x + wide - 0.2, start + 0.2),
                (x + wide - 0.2, start + length - 0.2),
                (x - wide + 0.2, start + length - 0.2),
            ],
            inner,
        )
        site.furniture.sign(site.mesh, x, start + 0.6, low=True)
        if rng.random() < 0.5:
            site.furniture.bollards(site.mesh, x, start + 0.6, start + length, length - 1.2)
    elif kind < 0.2 and site.half > 5:
        z = np.linspace(4, 106, 80)
        wide = rng.uniform(0.5, 2.0)
        mid = site.center(z)
        ground.strip(mid - wide, mid + wide, z, kerb)
        ground.strip(
            mid - wide + 0.2,
            mid + wide - 0.2,
            z,
            ground.surface(grass_surface(rng) if rng.random() < 0.6 else pavement_surface(rng)),
        )
        if rng.random() < 0.4:
            fence_along(site, 0, 4, 100, "guard rail" if rng.random() < 0.5 else "railing")
        elif rng.random() < 0.5 and wide > 1.0:
            for at in np.arange(8, 100, rng.uniform(8, 16)):
                site.plants.tree(site.mesh, float(site.center(at)), float(at), False)
    elif kind < 0.25:
        at, radius = rng.uniform(22, 50), rng.uniform(4, 9)
        ground.disc((site.center(at), at), radius + 7, road)
        ground.disc((site.center(at), at), radius, kerb)
        ground.disc((site.center(at), at), radius - 0.3, ground.surface(grass_surface(rng)))
        for _ in range(int(rng.integers(0, 5))):
            offset = rng.uniform(-radius, radius, 2) * 0.6
            site.plants.bush(site.mesh, site.center(at) + offset[0], at + offset[1], rng.uniform(0.7, 2))


def _patches(site: Site) -> None:
    rng, ground = site.rng, site.ground
    for _ in range(int(rng.poisson(4))):
        at, x = rng.uniform(2, 60), rng.uniform(-site.half, site.half)
        wide, long = (
            (rng.uniform(0.4, 1.2), rng.uniform(3, 40))
            if rng.random() < 0.5
            else (rng.uniform(0.5, 3), rng.uniform(0.5, 4))
        )
        x += site.center(at)
        ground.stain(
            [(x - wide / 2, at), (x + wide / 2, at), (x + wide / 2, at + long), (x - wide / 2, at + long)],
            rng.choice([rng.uniform(0.55, 0.9), rng.uniform(1.1, 1.4)]),
        )
    for _ in range(int(rng.poisson(2))):
        at, x = rng.uniform(3, 40), rng.uniform(-site.half, site.half)
        angle = np.linspace(0, 2 * np.pi, 14)
        ground.stain(
            np.stack([x + site.center(at) + 0.33 * np.cos(angle), at + 0.33 * np.sin(angle)], 1),
            rng.uniform(0.5, 0.8),
        )


def _markings(site: Site, z: np.ndarray, mid: np.ndarray) -> None:
    rng = site.rng
    if rng.random() < 0.1:
        return
    white, yellow = (235, 235, 230), (225, 170, 40)
    main = yellow if rng.random() < 0.15 else white
    wide = rng.uniform(0.1, 0.2)
    _lane_lines(site, z, mid, wide, main, white)
    _edge_lines(site, z, mid, wide, white, yellow)
    if rng.random() < 0.15:
        _cycle_lane(site, z, mid, wide, white)
    _crossings(site, white, yellow)
    for _ in range(int(rng.poisson(0.8))):
        _symbol(site, white)


def _lane_lines(
    site: Site, z: np.ndarray, mid: np.ndarray, wide: float, main: tuple[int, int, int], white: tuple[int, int, int]
) -> None:
    rng, ground, half = site.rng, site.ground, site.half
    middle = rng.random()
    if middle < 0.6:
        ground.line(np.stack([mid, z], 1), wide, main, (rng.uniform(1.5, 4), rng.uniform(2, 7)))
    elif middle < 0.85:
        for offset in (-0.12, 0.12) if rng.random() < 0.5 else (0,):
            ground.line(np.stack([mid + offset, z], 1), wide * 0.8, main)
    for side in (-1, 1):
        for lane in range(1, site.lanes):
            x = mid + side * half * lane / site.lanes
            ground.line(np.stack([x, z], 1), wide, white, (rng.uniform(2, 6), rng.uniform(3, 9)))


def _edge_lines(
    site: Site, z: np.ndarray, mid: np.ndarray, wide: float, white: tuple[int, int, int], yellow: tuple[int, int, int]
) -> None:
    """Add one white line, two yellow lines or no line along each kerb."""
    kind = site.rng.random()
    if kind >= 0.5:
        return
    lines = ((0.25, wide, white),) if kind < 0.3 else ((0.2, 0.08, yellow), (0.42, 0.08, yellow))
    for side in (-1, 1):
        for offset, width, color in lines:
            site.ground.line(np.stack([mid + side * (site.half - offset), z], 1), width, color)


def _cycle_lane(site: Site, z: np.ndarray, mid: np.ndarray, wide: float, white: tuple[int, int, int]) -> None:
    rng = site.rng
    lane = site.half - rng.uniform(1.2, 2.2)
    side = 1 if rng.random() < 0.5 else -1
    if rng.random() < 0.4:
        color = ((150, 60, 50), (50, 110, 70), (60, 80, 140))[int(rng.integers(3))]
        surface = site.ground.surface(Surface(tuple(tinted(rng, linear(*color), 0.2)), 0.1, 1.0, ROAD))
        site.ground.strip(mid + side * lane, mid + side * site.half, z, surface)
    site.ground.line(np.stack([mid + side * lane, z], 1), wide, white)


def _crossings(site: Site, white: tuple[int, int, int], yellow: tuple[int, int, int]) -> None:
    rng, ground, half = site.rng, site.ground, site.half
    spots = [at - w - rng.uniform(1, 4) for at, w, _ in site.junctions] + (
        [rng.uniform(5, 60)] if rng.random() < 0.3 else []
    )
    for at in spots:
        if not 2 < at < 80:
            continue
        x, kind = site.center(at), rng.random()
        if kind < 0.3:
            for offset in np.arange(-half + 0.3, half - 0.3, 1.0):
                ground.mark(
                    [(x + offset, at), (x + offset + 0.5, at), (x + offset + 0.5, at + 3), (x + offset, at + 3)],
                    white,
                )
        elif kind < 0.55:
            for offset in (0, 2.6):
                ground.line(
                    [(x - half, at + offset), (x + half, at + offset)],
                    0.15,
                    white,
                    (0.35, 0.35) if rng.random() < 0.5 else None,
                )
        ground.line(
            [(x, at - 1.5), (x + site.hand * half, at - 1.5)],
            rng.uniform(0.2, 0.4),
            white,
            None if rng.random() < 0.6 else (0.6, 0.3),
        )
    for at, wide, _ in site.junctions:
        if rng.random() < 0.12:
            x, color = site.center(at), yellow if rng.random() < 0.7 else white
            for offset in np.arange(-half - 2 * wide, half + 2 * wide, 1.6):
                a, b = np.array([x + offset - wide, at - wide]), np.array([x + offset + wide, at + wide])
                if a[0] > x - half - 0.2 and b[0] < x + half + 0.2:
                    ground.line([a, b], 0.12, color)
                    ground.line([(a[0], b[1]), (b[0], a[1])], 0.12, color)


def _symbol(site: Site, white: tuple[int, int, int]) -> None:
    rng, ground = site.rng, site.ground
    at = rng.uniform(5, 40)
    x = site.center(at) + site.hand * site.half * (int(rng.integers(site.lanes)) + 0.5) / site.lanes
    kind = rng.random()
    if kind < 0.5:
        ground.mark([(x - 0.08, at), (x + 0.08, at), (x + 0.08, at + 3), (x - 0.08, at + 3)], white)
        for turn in ((0,), (-1,), (1,), (0, 1), (0, -1))[int(rng.integers(5))]:
            tip = (x + 0.9 * turn, at + (4.2 if turn == 0 else 3.4))
            base = at + (2.9 if turn == 0 else 2.2)
            ground.mark([tip, (x + 0.35 + 0.2 * turn, base), (x - 0.35 + 0.2 * turn, base)], white)
    elif kind < 0.75:
        for letter in range(int(rng.integers(2, 5))):
            left = x - 1.1 + letter * 0.6
            for _ in range(int(rng.integers(2, 4))):
                a, b = rng.uniform(0, 1, 2), rng.uniform(0, 1, 2)
                ground.line([(left + 0.45 * a[0], at + 2 * a[1]), (left + 0.45 * b[0], at + 2 * b[1])], 0.12, white)
    else:
        length = rng.uniform(4, 15)
        for offset in np.arange(0, length, 1.2):
            ground.line([(site.center(at) - 0.8, at + offset), (site.center(at) + 0.8, at + offset + 1.2)], 0.25, white)
