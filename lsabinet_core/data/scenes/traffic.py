"""Moving traffic and rare objects: bridges, towers, gantries, tunnels, cones."""

import numpy as np

from lsabinet_core.data.scenes.site import VIEW_M, Site


def traffic(site: Site) -> None:
    """Add moving vehicles and riders to every lane, except at the position of the camera."""
    rng = site.rng
    busy = rng.choice([0.15, 0.5, 1.0], p=(0.3, 0.45, 0.25))
    for direction in (1, -1):
        side = site.hand * direction
        for lane in range(site.lanes):
            x_lane = side * site.half * (lane + 0.5) / site.lanes
            mine = abs(x_lane - site.camera_x) < 1.5
            z = rng.uniform(5, 30) if mine else rng.uniform(-6, 25)
            while z < min(VIEW_M, site.end - 8):
                if rng.random() < busy:
                    x = site.center(z) + x_lane + rng.normal(0, 0.2)
                    heading = site.heading(z) + (0 if direction > 0 else np.pi) + rng.normal(0, 0.03)
                    kind = rng.random()
                    if kind < 0.12:
                        edge = site.center(z) + side * (site.half - rng.uniform(0.5, 1.2))
                        site.people.bicycle(site.mesh, edge, z, heading, True)
                    elif kind < 0.15:
                        site.people.motorcycle(site.mesh, x, z, heading, True, site.lamps, site.light.lit)
                    else:
                        large = rng.random() < 0.14
                        if large:
                            z += 4
                        site.car(x, z, heading, large)
                z += rng.uniform(7, 12) + rng.exponential(12 / busy * 0.5)
    if rng.random() < 0.25:
        # A pedestrian or vehicle crosses the road in front of the camera.
        z = rng.uniform(6, 35)
        for _ in range(int(rng.integers(1, 4))):
            x = site.center(z) + rng.uniform(-site.half, site.half)
            site.people.walker(
                site.mesh, x, z + rng.normal(0, 0.7), rng.choice([-1, 1]) * np.pi / 2 + rng.normal(0, 0.3)
            )
    for _ in range(int(rng.poisson(1.4))):
        z = rng.uniform(4, 40)
        side = rng.choice([-1, 1])
        x = site.center(z) + side * (site.half - rng.uniform(0.3, 1.4))
        heading = (0.0 if side == site.hand else np.pi) + rng.normal(0, 0.1)
        if rng.random() < 0.2:
            heading += np.pi / 2
        if abs(x - site.camera_x) > 1.0 or z > 8:
            site.people.bicycle(site.mesh, x, z, heading, True)
    if site.junctions and rng.random() < 0.3:
        at = site.junctions[0][0]
        if at > 8:
            site.car(site.center(at) + rng.uniform(-6, 6), at + rng.uniform(-2, 2), rng.choice([-1, 1]) * np.pi / 2)


def landmarks(site: Site) -> None:
    """Add bridges, towers, gantries, tunnels, cones and the ego vehicle's bonnet."""
    rng = site.rng
    if rng.random() < 0.05:
        site.buildings.bridge(site.mesh, rng.uniform(15, 80), site.half + 2)
    if rng.random() < 0.06:
        site.buildings.tower(site.mesh, rng.choice([-1, 1]) * rng.uniform(14, 35), rng.uniform(35, 110))
    if rng.random() < 0.04:
        site.furniture.gantry(site.mesh, rng.uniform(15, 60), site.half + 1.5)
    if rng.random() < 0.02:
        start = rng.uniform(-10, 30)
        site.buildings.tunnel(site.mesh, start, start + rng.uniform(15, 90), site.half + 1.5)
    if rng.random() < 0.05:
        z = rng.uniform(5, 25)
        for i in range(int(rng.integers(2, 9))):
            site.furniture.cone(site.mesh, site.center(z) + site.half * rng.uniform(0.3, 0.9), z + 2.0 * i)
