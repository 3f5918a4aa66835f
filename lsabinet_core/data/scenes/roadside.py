"""Roadside objects: plots with houses, gardens and trees, side roads, and objects along the kerb."""

import numpy as np

from lsabinet_core.data.scenes.site import BEHIND_M, VIEW_M, Site


def plots(site: Site, side: int) -> None:
    """Add plots from behind the camera to the end of the view."""
    rng, p = site.rng, site.sides[side]
    z = BEHIND_M - rng.uniform(0, 8)
    while z < min(VIEW_M, site.end + 5):
        terrace = p.setback < 2 and rng.random() < 0.8
        size = rng.uniform(5, 14) * (1.8 if p.tall or site.place == "retail" else 1.0)
        end = z + size
        if not site.is_free(z, end, side):
            z += 2.0
            continue
        built = rng.random() < p.houses
        if built:
            gap = 0.0 if terrace else rng.uniform(0.5, 4)
            _house_beside(
                site, side, z + gap / 2, end - gap / 2, p.setback + rng.uniform(0, 0.6 if terrace else 3), p.tall
            )
        front = p.front
        if front == "mixed":
            front = str(rng.choice(["fence", "hedge", "open"], p=(0.45, 0.3, 0.25)))
        if not built and front == "open" and site.place not in ("park", "country", "retail"):
            front = "fence"
        if front == "fence":
            fence_along(site, side, z, end, beyond=0.1)
            if rng.random() < 0.3:
                _hedge_along(site, side, z, end, 0.8)
        elif front == "hedge":
            _hedge_along(site, side, z, end, 0.5)
        room = max(p.setback, 3.0 if not built else 0.0)
        if room > 2 or not built:
            far = room if built else room + 14
            density = (
                p.trees if built else max(p.trees, 0.8) * (2.2 if site.place in ("park", "country", "avenue") else 1.2)
            )
            for _ in range(int(rng.poisson(density * size / 10 * min(far, 12) / 6))):
                at = rng.uniform(z, end)
                site.plants.tree(site.mesh, site.edge(side, at, rng.uniform(1.5, far)), at, not built)
            for _ in range(int(rng.poisson(0.25 * size / 4))):
                at = rng.uniform(z, end)
                site.plants.bush(
                    site.mesh,
                    site.edge(side, at, rng.uniform(0.7, max(far * 0.6, 1.0))),
                    at,
                    rng.uniform(0.4, 1.6),
                )
        if not built and site.place == "retail" and rng.random() < 0.7:
            for at in np.arange(z + 2, end, 2.8):
                if rng.random() < 0.7:
                    site.car(site.edge(side, at, rng.uniform(4, 6)), at, np.pi / 2 * rng.choice([-1, 1]))
        z = end


def _house_beside(site: Site, side: int, start: float, end: float, beyond: float, tall: bool) -> None:
    at = (start + end) / 2
    heading = site.heading(at) + side * np.pi / 2
    x = site.edge(side, at, beyond)
    width, depth = end - start, site.rng.uniform(7, 14)
    site.buildings.house(site.mesh, x, at, width, depth, heading, tall)
    site.occluders.append([(x, start), (x, end), (x + side * depth, end), (x + side * depth, start)])


def _hedge_along(site: Site, side: int, start: float, end: float, beyond: float) -> None:
    height, depth = site.rng.uniform(0.8, 2.6), site.rng.uniform(0.5, 1.2)
    at = start
    while at < end:
        to = min(at + 6, end)
        site.plants.hedge(
            site.mesh, (site.edge(side, at, beyond), at), (site.edge(side, to, beyond), to), height, depth
        )
        at = to


def side_road(site: Site, at: float, wide: float, side: int) -> None:
    """Add houses, trees and cars along a side road."""
    rng = site.rng
    for s in (-1, 1):
        if side not in (0, s):
            continue
        p = site.sides[s]
        start = abs(site.edge(s, at, 0) - site.center(at)) + 12
        for t in (-1, 1):
            reach = start
            z = at + t * (wide + rng.uniform(1.5, 4))
            while reach < 44:
                size = rng.uniform(6, 14)
                x = site.center(at) + s * (reach + size / 2)
                if rng.random() < max(p.houses, 0.3):
                    site.buildings.house(site.mesh, x, z, size, 9, 0.0 if t > 0 else np.pi, p.tall)
                else:
                    for _ in range(2):
                        site.plants.tree(site.mesh, x + rng.uniform(-3, 3), z + t * rng.uniform(2, 6), True)
                reach += size
        for _ in range(int(rng.poisson(1.5))):
            x = site.center(at) + s * rng.uniform(site.half + 4, 40)
            site.car(x, at + rng.choice([-1, 1]) * wide * 0.5, rng.choice([-1, 1]) * np.pi / 2)


def dead_end(site: Site) -> None:
    """Add houses, a park or a wall across the end of the road."""
    rng = site.rng
    x = -40.0
    kind = rng.random()
    while x < 40:
        size = rng.uniform(8, 22)
        z = site.end + rng.uniform(2.5, 5)
        if kind < 0.75:
            site.buildings.house(
                site.mesh, x + size / 2, z, size - (0 if rng.random() < 0.7 else 2), 10, 0.0, rng.random() < 0.3
            )
            site.occluders.append([(x, z), (x + size, z), (x + size, z + 10), (x, z + 10)])
        else:
            if kind < 0.9:
                site.furniture.fence(site.mesh, (x, site.end + 2), (x + size, site.end + 2), "railing")
            for _ in range(4):
                site.plants.tree(site.mesh, x + rng.uniform(0, size), z + rng.uniform(1, 15), True)
        x += size
    for _ in range(int(rng.poisson(2))):
        site.people.walker(site.mesh, rng.uniform(-12, 12), site.end + rng.uniform(0.5, 2), rng.uniform(0, 6.3))
    for _ in range(int(rng.poisson(1))):
        site.car(rng.uniform(-12, 12), site.end - site.half, np.pi / 2)


def along_kerb(site: Site, side: int) -> None:
    """Add lamps, signs, street trees, people, bicycles and parked cars."""
    rng, p = site.rng, site.sides[side]
    kerb, end = site.half + 0.2, min(VIEW_M, site.end)
    _posts(site, side, kerb, end)
    z = rng.uniform(-3, 6)
    while z < end:
        x = float(site.center(z)) + side * (kerb + rng.uniform(0.25, 0.25 + max(p.verge, 0.3)))
        _kerb_item(site, side, x, z, kerb)
        z += rng.exponential(7.0 / p.furniture) + 1.0
    for at, w, _s in site.junctions:
        if rng.random() < 0.4 and at > 3:
            over = -side * rng.uniform(2, 4) if rng.random() < 0.3 else 0.0
            x = float(site.center(at)) + side * (kerb + 0.4)
            for z in (at - w - 1.5, at + w + 1.0):
                site.furniture.traffic_light(site.mesh, x, z, over)
    _pedestrians(site, side, kerb)
    _parked(site, side)


def _posts(site: Site, side: int, kerb: float, end: float) -> None:
    """Add street lamps and telegraph posts at regular distances."""
    rng = site.rng
    if rng.random() < 0.75:
        gap, tall = rng.uniform(15, 35), rng.random() < 0.8
        for at in np.arange(rng.uniform(-5, 12), end, gap):
            site.furniture.lamp_post(site.mesh, float(site.center(at)) + side * (kerb + 0.4), float(at), -side, tall)
    if rng.random() < 0.12:
        for at in np.arange(rng.uniform(-5, 12), end, rng.uniform(20, 40)):
            site.furniture.post(site.mesh, float(site.center(at)) + side * (kerb + 0.6), float(at), rng.random() < 0.6)


def _kerb_item(site: Site, side: int, x: float, z: float, kerb: float) -> None:
    """Add a piece of street furniture, some parked bicycles or a tree."""
    rng, p, furniture, mesh = site.rng, site.sides[side], site.furniture, site.mesh
    kind = rng.random()
    if kind < 0.36:
        facing = 0.0 if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi)
        furniture.sign(mesh, x, z, facing, rng.random() < 0.15)
    elif kind < 0.44:
        furniture.traffic_light(mesh, x, z, facing=0.0 if rng.random() < 0.7 else np.pi)
    elif kind < 0.5:
        furniture.board(mesh, x + side * rng.uniform(0.5, 3), z)
    elif kind < 0.58:
        furniture.clutter(mesh, x + side * 0.3, z)
    elif kind < 0.66:
        furniture.bollards(mesh, x, z, z + rng.uniform(2, 14), rng.uniform(1.2, 3))
    elif kind < 0.74:
        end = z + rng.uniform(3, 16)
        style = "railing" if rng.random() < 0.8 else "guard rail"
        furniture.fence(mesh, (x, z), (float(site.center(end)) + side * (kerb + 0.3), end), style)
    elif kind < 0.8:
        _parked_bicycles(site, x + side * 0.8, z)
    elif p.verge > 1.2 or p.pavement > 2.5 or rng.random() < 0.2:
        site.plants.tree(mesh, x + side * 0.4, z, rng.random() < 0.4)


def _parked_bicycles(site: Site, x: float, z: float) -> None:
    rng = site.rng
    for i in range(int(rng.integers(1, 6))):
        at = z + i * rng.uniform(0.5, 0.9)
        if rng.random() < 0.85:
            heading = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1)
            site.people.bicycle(site.mesh, x, at, heading, False, rng.normal(0, 0.1))
        else:
            site.people.motorcycle(site.mesh, x, at, rng.normal(0, 0.3), False, site.lamps, 0.0)


def _pedestrians(site: Site, side: int, kerb: float) -> None:
    rng, p = site.rng, site.sides[side]
    count = int(rng.poisson(p.people * 10 + 0.5))
    room = max(p.verge + p.pavement, 1.0)
    while count > 0:
        group = int(min(count, rng.choice([1, 2, 3, 6], p=(0.6, 0.25, 0.1, 0.05))))
        z = rng.uniform(3, 12) if rng.random() < 0.25 else 4 + rng.exponential(24)
        x = site.center(z) + side * (kerb + rng.uniform(0.3, room))
        heading = rng.choice([0.0, np.pi]) + rng.normal(0, 0.4) if rng.random() < 0.8 else rng.uniform(0, 2 * np.pi)
        for _ in range(group):
            if z < min(VIEW_M, site.end):
                site.people.walker(
                    site.mesh, x + rng.normal(0, 0.45), z + rng.normal(0, 0.5), heading + rng.normal(0, 0.2)
                )
        count -= group


def _parked(site: Site, side: int) -> None:
    rng, p = site.rng, site.sides[side]
    if p.parked <= 0 or rng.random() < 0.25:
        return
    on_kerb = rng.uniform(-0.9, 0.3)
    z = rng.uniform(-8, 10)
    while z < min(VIEW_M, site.end):
        if rng.random() < p.parked and site.is_free(z - 1, z + 5, side):
            x = site.center(z) + side * (site.half - 1.0 - on_kerb * 0.5)
            length = site.car(x, z + 2.2, site.heading(z) + (0 if rng.random() < 0.7 else np.pi) + rng.normal(0, 0.02))
            z += length + rng.uniform(0.6, 1.5)
        else:
            z += rng.uniform(5, 9)


def fence_along(site: Site, side: int, start: float, end: float, kind: str | None = None, beyond: float = 0.0) -> None:
    """Add a fence that follows the road; side 0 is the middle of the road."""
    step = 6.0
    kind = kind or str(
        site.rng.choice(["railing", "mesh", "boards", "wall", "panels"], p=(0.42, 0.12, 0.28, 0.12, 0.06))
    )
    at = start
    while at < end:
        to = min(at + step, end)
        a, b = (site.edge(side, q, beyond) if side else float(site.center(q)) for q in (at, to))
        site.furniture.fence(site.mesh, (a, at), (b, to), kind)
        at = to
