"""Distant trees, houses and hills, and the ego vehicle's bonnet at the lower edge of the image."""

import itertools

import numpy as np

from lsabinet_core.data.scenes import masks
from lsabinet_core.data.scenes.ground import VOID
from lsabinet_core.data.scenes.materials import BACKDROP, PAINT, linear, tinted
from lsabinet_core.data.scenes.site import Site

BUILDING, TREE = 1, 5


def backdrop(site: Site) -> None:
    """Add distant trees, houses and hills that close the view."""
    rng = site.rng
    far = tinted(rng, linear(70, 85, 55), 0.3)
    trees = site.materials.add(BACKDROP, far, far * 0.6, 4.0, 0.3, mask=masks.TREE_LINE)
    hill_color = tinted(rng, linear(95, 110, 85), 0.3)
    hills = site.materials.add(BACKDROP, hill_color, hill_color * 0.8, 20.0, 0.1, mask=masks.HILLS)
    wall = tinted(rng, linear(150, 140, 130), 0.3)
    houses = site.materials.add(BACKDROP, wall, wall * 0.7, 8.0, 0.1, detail=(1.0,), mask=masks.ROOF_LINE)
    layers = []
    if rng.random() < 0.3:
        layers.append((380, rng.uniform(12, 60), hills, TREE, 90))
    if rng.random() < 0.7:
        layers.append((220, rng.uniform(8, 24), houses, BUILDING, rng.uniform(40, 90)))
    if rng.random() < 0.8:
        layers.append((170, rng.uniform(6, 18), trees, TREE, rng.uniform(40, 90)))
    if rng.random() < 0.5:
        layers.append((130, rng.uniform(5, 14), trees if rng.random() < 0.6 else houses, TREE, rng.uniform(30, 60)))
    for distance, height, material, class_id, repeat in layers:
        class_id = BUILDING if material == houses else class_id
        shift = rng.uniform(0, 1)
        angles = np.linspace(-1.25, 1.25, 9)
        points = np.stack([np.sin(angles) * distance, 0 * angles - 0.5, np.cos(angles) * distance], 1)
        for a, b in itertools.pairwise(points):
            along = b - a
            u0, du = shift, np.linalg.norm(along) / repeat
            site.mesh.add(
                [a, b, b + (0, height, 0), a + (0, height, 0)],
                -(a + b) / np.linalg.norm(a + b) + (0, 0.4, 0),
                [(u0, 0), (u0 + du, 0), (u0 + du, 0.9999), (u0, 0.9999)],
                [(0, 1, 2), (0, 2, 3)],
                material,
                class_id,
            )
            shift += du


def add_bonnet(rng: np.random.Generator, site: Site, position: np.ndarray, rotation: np.ndarray, lowest: float) -> None:
    """Add the ego vehicle's bonnet; `lowest` is the angle of the image's lower edge below the axis, in radians."""
    color = tinted(rng, linear(*(3 * (rng.choice([25, 90, 200, 230]),))), 0.3)
    paint = site.materials.add(PAINT, color, gloss=float(rng.uniform(0.08, 0.5)))
    angle = lowest - np.abs(rng.normal(0.02, 0.05))
    right, down, ahead = rotation
    distance = rng.uniform(1.1, 1.9)
    center = position + ahead * distance + down * (distance * np.tan(max(angle, 0.05)) + 0.1)
    site.mesh.ellipsoid(center, (rng.uniform(0.9, 1.4), 0.12, 0.7), paint, VOID, np.stack([right, -down, ahead]), 8, 24)
