"""Road, kerbs, pavements, verges and sky: what fills the picture behind everything that stands on it."""

from dataclasses import dataclass

import cv2
import numpy as np

from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.classes import BUILDING, PAVEMENT, ROAD, SKY, TREE
from lsabinet_core.data.street.element import Course
from lsabinet_core.data.street.textures import sample_noise

KERB_M = 0.13
_FAR_M = 600.0


@dataclass(frozen=True)
class Ground:
    """Cross-section and surfaces of the street. Lengths in metres, colours BGR 0..255 in full light.

    Attributes:
        half_road: half the width of the carriageway; beyond it stands the kerb, KERB_M high.
        pavement: (left, right) widths of the pavements; beyond them lies grass.
        dash: (length, period) of the centre line's dashes; edge_line: whether lines run along the kerbs.
        crossings: street positions s of zebra crossings.
        slab: (length, width) of the paving slabs.
        patch: how much tarmac differs from place to place; offset: texture offset in texels.
    """

    half_road: float
    pavement: tuple[float, float]
    tarmac: tuple[float, float, float]
    paving: tuple[float, float, float]
    kerb: tuple[float, float, float]
    grass: tuple[float, float, float]
    dash: tuple[float, float]
    edge_line: bool
    crossings: tuple[float, ...]
    slab: tuple[float, float]
    patch: float
    offset: float


def draw_ground(canvas: Canvas, course: Course, ground: Ground, shadows: list[tuple[np.ndarray, float]]) -> None:
    """Paint everything below the horizon.

    Args:
        shadows: world polygons (N, 2) of x, z on the road's plane with the factor that they leave of the light; a later
            one replaces an earlier one.
    """
    camera = canvas.camera
    height, width = camera.size
    first = int(np.clip(np.floor(camera.horizon) + 1, 0, height))
    if first >= height:
        return
    rows = np.arange(first, height)
    x, z, depth = camera.ground(rows)
    z = np.clip(z, -_FAR_M, _FAR_M)
    x = np.clip(x, -_FAR_M, _FAR_M)
    d = x - course.center(z)
    raised_x, raised_z, _ = camera.ground(rows, KERB_M)
    raised_z = np.clip(raised_z, -_FAR_M, _FAR_M)
    raised_d = np.clip(raised_x, -_FAR_M, _FAR_M) - course.center(raised_z)

    on_road = np.abs(d) < ground.half_road
    # Between the two planes' hits the ray passes through the upright face of the kerb.
    on_kerb = ~on_road & (np.abs(raised_d) < ground.half_road + 0.18)
    past = np.where(raised_d < 0, -raised_d - ground.pavement[0], raised_d - ground.pavement[1])
    on_grass = past > ground.half_road
    label = np.where(on_road, np.uint8(ROAD), np.where(on_grass, np.uint8(TREE), np.uint8(PAVEMENT)))

    footprint = (depth / camera.focal).astype(np.float32)  # metres per pixel across
    fade = np.clip(0.03 / footprint, 0, 1)
    surface_x = np.where(on_road, d, raised_d).astype(np.float32)
    surface_z = np.where(on_road, z, raised_z).astype(np.float32)
    grain = sample_noise(0.3, surface_x * 26 + ground.offset, surface_z * 26)
    stain = sample_noise(1.2, surface_x * 9, surface_z * 4 + ground.offset)
    value = 1 + 0.10 * fade * grain + ground.patch * stain * np.clip(0.3 / footprint, 0, 1)
    value = np.where(on_grass, value + 0.15 * fade * grain, value)

    tints = np.array([ground.tarmac, ground.paving, ground.grass, ground.kerb], dtype=np.float32)
    kind = np.where(on_road, 0, np.where(on_kerb, 3, np.where(on_grass, 2, 1)))
    joints = _joints(surface_x, surface_z, footprint, depth, camera.position[1], ground)
    value = np.where(kind == 1, value * (1 - 0.35 * joints), value)
    value = np.where(on_kerb & (np.abs(raised_d) < ground.half_road), value * 0.72, value)
    light = canvas.light
    lit = light.ambient + light.diffuse * light.sun[1]
    color = (value * lit)[..., None] * tints[kind]
    paint = _markings(d, z, footprint, depth, camera.position[1], ground) * (0.86 + 0.06 * stain)
    paint = (np.where(on_road, paint, 0) * 0.9)[..., None]
    color += paint * (225 * lit - color)

    dark = np.full((height, width), 255, np.uint8)
    for polygon, factor in shadows:
        outline = canvas.outline(np.insert(polygon, 1, 0.0, axis=1))
        if outline is not None:
            cv2.fillPoly(dark, [outline], int(255 * factor), shift=4)
    color *= (cv2.blur(dark, (3, 3))[first:].astype(np.float32) / 255)[..., None]

    keep = np.exp(-depth / light.haze_m)[..., None]
    color = color * keep + (1 - keep) * np.array(light.skyline, dtype=np.float32)
    canvas.image[first:] = np.clip(color, 0, 255).astype(np.uint8)
    canvas.label[first:] = label


def _line(distance: np.ndarray, half: float, footprint: np.ndarray) -> np.ndarray:
    """Share of a pixel that a line covers whose middle is `distance` metres away."""
    return np.clip((half - np.abs(distance)) / footprint + 0.5, 0, 1) * np.clip(2 * half / footprint, 0, 1)


def _along(footprint: np.ndarray, depth: np.ndarray, eye: float) -> np.ndarray:
    """Metres per pixel along the street."""
    return footprint * np.maximum(1, depth / eye)


def _markings(d, z, footprint, depth, eye, ground: Ground) -> np.ndarray:
    length, period = ground.dash
    along = _along(footprint, depth, eye)
    dash = np.clip((length / 2 - np.abs(np.mod(z, period) - period / 2)) / along + 0.5, 0, 1)
    paint = _line(d, 0.07, footprint) * dash
    if ground.edge_line:
        paint = np.maximum(paint, _line(np.abs(d) - ground.half_road + 0.3, 0.06, footprint))
    for s in ground.crossings:
        across = np.clip((1.5 - np.abs(z - s)) / along + 0.5, 0, 1)
        bars = np.clip((0.28 - np.abs(np.mod(d, 1.1) - 0.55)) / footprint + 0.5, 0, 1)
        stop = np.clip((0.2 - np.abs(np.abs(z - s) - 3.0)) / along + 0.5, 0, 1)
        near = np.abs(z - s) < 2.4
        paint = np.where(near, across * bars, np.maximum(paint, stop))
    return paint


def _joints(x, z, footprint, depth, eye, ground: Ground) -> np.ndarray:
    length, width = ground.slab
    across = _line(np.mod(x, width) - width / 2, 0.02, footprint)
    along = _along(footprint, depth, eye)
    cross = np.clip((0.02 - np.abs(np.mod(z, length) - length / 2)) / along + 0.5, 0, 1) * np.clip(0.04 / along, 0, 1)
    return np.maximum(across, cross)


def draw_sky(canvas: Canvas, clouds: float) -> None:
    """Paint everything above the horizon; `clouds` is an offset into the clouds' texture, in texels."""
    camera, light = canvas.camera, canvas.light
    height, width = camera.size
    last = int(np.clip(np.floor(camera.horizon) + 1, 0, height))
    if last <= 0:
        return
    column, row = camera.center
    slope = ((np.arange(last) - row) / camera.focal)[:, None]
    rise = -np.sin(camera.pitch) - slope * np.cos(camera.pitch)
    level = np.cos(camera.pitch) - slope * np.sin(camera.pitch)
    share = np.clip(rise / np.hypot(level, rise) * 1.9, 0, 1) ** 0.8
    color = np.array(light.skyline) * (1 - share[..., None]) + np.array(light.zenith) * share[..., None]
    # Clouds lie on a plane overhead, so they flatten towards the horizon.
    plane = np.maximum(rise, 0.02)
    aside = ((np.arange(width) - column) / camera.focal)[None, :]
    sin, cos = np.sin(camera.yaw), np.cos(camera.yaw)
    x = (30 * (level * sin + aside * cos) / plane).astype(np.float32) + np.float32(clouds)
    y = (30 * (level * cos - aside * sin) / plane).astype(np.float32)
    field = sample_noise(1.5, x, y)
    cover = np.clip((field - 1.2 + 2.2 * light.cover) * 0.8, 0, 1) * np.clip(rise / 0.1, 0, 1) * 0.9
    tone = np.array(light.cloud, dtype=np.float32) * (0.92 + 0.05 * field)[..., None]
    color = color + cover[..., None].astype(np.float32) * (tone - color)
    canvas.image[:last] = np.clip(color, 0, 255).astype(np.uint8)
    canvas.label[:last] = SKY


def draw_skyline(canvas: Canvas, seed: int) -> None:
    """Paint distant roofs and woods along the horizon, all the way round."""
    rng = np.random.default_rng(seed)
    eye = np.array(canvas.camera.position)
    forward = canvas.camera.axes[2]
    for start in np.arange(0, 2 * np.pi, 0.045):
        wide, tall, is_wood, tone = rng.uniform(0.04, 0.09), rng.uniform(0.012, 0.05), rng.random() < 0.5, rng.random()
        middle = start + wide / 2
        if np.sin(middle) * forward[0] + np.cos(middle) * forward[2] < 0.6:
            continue
        color = np.array([70, 105, 85] if is_wood else [120, 125, 135]) * (0.8 + 0.4 * tone)
        profile = [(0, 0), (0, 0.7), (0.2, 0.95), (0.5, 1.0), (0.8, 0.9), (1, 0.65), (1, 0)]
        if not is_wood:
            profile = [(0, 0), (0, 1), (1, 1), (1, 0)]
        points = []
        for share, rise in profile:
            angle = start + share * wide
            points.append(eye + 150 * np.array([np.sin(angle), tall * rise, np.cos(angle)]))
        canvas.polygon(np.array(points), color, TREE if is_wood else BUILDING)
