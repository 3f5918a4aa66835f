"""Composition of a random street site from its parts."""

import numpy as np

from lsabinet_core.data.scenes.backdrop import backdrop
from lsabinet_core.data.scenes.light import Light
from lsabinet_core.data.scenes.roads import paint_ground
from lsabinet_core.data.scenes.roadside import along_kerb, dead_end, plots, side_road
from lsabinet_core.data.scenes.site import VIEW_M, Site
from lsabinet_core.data.scenes.traffic import landmarks, traffic


def random_site(rng: np.random.Generator, light: Light) -> Site:
    """Create a complete random site, seen from a vehicle on its road."""
    site = Site(rng, light)
    paint_ground(site)
    for side in (-1, 1):
        plots(site, side)
        along_kerb(site, side)
    for junction in site.junctions:
        side_road(site, *junction)
    if site.end < VIEW_M:
        dead_end(site)
    traffic(site)
    landmarks(site)
    backdrop(site)
    return site
