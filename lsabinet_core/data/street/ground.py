"""Road, kerbs, pavements, verges and sky: the background of all street elements."""

from dataclasses import dataclass

import cv2
import numpy as np

from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.classes import BUILDING, PAVEMENT, ROAD, SKY, TREE
from lsabinet_core.data.street.element import Course
from lsabinet_core.data.street.textures import sample_noise

KERB_M = 0.13
_FAR_M = 600.0
# Outlines of what stands on the horizon: (share of the width, share of the height).
_WOOD = np.array([(0, 0), (0, 0.7), (0.2, 0.95), (0.5, 1.0), (0.8, 0.9), (1, 0.65), (1, 0)])
_ROOFS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])


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
    eye = camera.position[1]
    x, z, depth = camera.ground(rows)
    np.clip(x, -_FAR_M, _FAR_M, out=x)
    np.clip(z, -_FAR_M, _FAR_M, out=z)
    d = x - course.center(z)
    # The same rays meet the pavements' plane at a fixed share of the way to the road's plane.
    share = np.float32(1 - KERB_M / eye)
    raised_x = x * share + np.float32((1 - share) * camera.position[0])
    raised_z = z * share + np.float32((1 - share) * camera.position[2])
    raised_d = raised_x - course.center(raised_z)

    distance, raised_distance = np.abs(d), np.abs(raised_d)
    on_road = distance < ground.half_road
    widths = np.where(raised_d < 0, np.float32(ground.pavement[0]), np.float32(ground.pavement[1]))
    on_grass = raised_distance > ground.half_road + widths
    # Between the two planes' hits a ray passes through the upright face of the kerb.
    on_kerb = (raised_distance < ground.half_road + 0.18) & ~on_road
    kind = np.ones(d.shape, np.uint8)
    kind[on_grass] = 2
    kind[on_kerb] = 3
    kind[on_road] = 0
    canvas.label[first:] = np.array([ROAD, PAVEMENT, TREE, PAVEMENT], np.uint8)[kind]

    footprint = depth / np.float32(camera.focal)  # metres per pixel across the street
    along = footprint * np.maximum(1, depth / np.float32(eye))  # and along it
    surface_d, surface_z = np.where(on_road, d, raised_d), np.where(on_road, z, raised_z)
    grain = sample_noise(0.3, surface_d * 26 + np.float32(ground.offset), surface_z * 26)
    stain = sample_noise(1.2, surface_d * 9, surface_z * 4 + np.float32(ground.offset))
    value = 1 + grain * (0.10 * np.clip(0.03 / footprint, 0, 1))
    value += stain * (np.float32(ground.patch) * np.clip(0.3 / footprint, 0, 1))
    slabs = kind == 1
    value[slabs] *= (1 - 0.35 * _joints(surface_d, surface_z, footprint, along, ground))[slabs]
    value[on_kerb & (raised_distance < ground.half_road)] *= 0.72
    paint = _markings(d, z, footprint, along, ground)
    paint[~on_road] = 0

    dark = np.full((height, width), 255, np.uint8)
    for polygon, factor in shadows:
        outline = canvas.outline(polygon[:, [0, 0, 1]] * (1.0, 0.0, 1.0))
        if outline is not None:
            cv2.fillConvexPoly(dark, outline, int(255 * factor), shift=4)
    light = canvas.light
    keep = np.exp(-depth / np.float32(light.haze_m))
    level = np.float32((light.ambient + light.diffuse * light.sun[1]) / 255) * keep
    level = level * cv2.blur(dark, (3, 3))[first:]
    tints = np.array([ground.tarmac, ground.paving, ground.grass, ground.kerb], dtype=np.float32)
    color = np.take(tints, kind, axis=0)
    color *= (value * level * (1 - paint))[..., None]
    color += (np.float32(225) * paint * level)[..., None]
    color += (1 - keep)[..., None] * np.array(light.skyline, dtype=np.float32)
    np.clip(color, 0, 255, out=color)
    canvas.image[first:] = color.astype(np.uint8)


def _line(distance: np.ndarray, half: float, footprint: np.ndarray) -> np.ndarray:
    """Share of a pixel covered by a stripe, `half` metres to each side of where `distance` is 0."""
    return np.clip((half - np.abs(distance)) / footprint + 0.5, 0, 1) * np.clip(2 * half / footprint, 0, 1)


def _wrap(value: np.ndarray, period: float) -> np.ndarray:
    """Distance to the nearest of the points (n + 1/2) period, with its sign."""
    turns = value * np.float32(1 / period)
    return (turns - np.floor(turns) - np.float32(0.5)) * np.float32(period)


def _markings(d: np.ndarray, z: np.ndarray, footprint: np.ndarray, along: np.ndarray, ground: Ground) -> np.ndarray:
    """Opacity of the paint on the road, float32, 0..0.9."""
    length, period = ground.dash
    paint = _line(d, 0.07, footprint)
    paint *= np.clip((length / 2 - np.abs(_wrap(z, period))) / along + 0.5, 0, 1)
    if ground.edge_line:
        np.maximum(paint, _line(np.abs(d) - np.float32(ground.half_road - 0.3), 0.06, footprint), out=paint)
    lowest, highest = z.min(axis=1), z.max(axis=1)
    for s in ground.crossings:
        rows = np.flatnonzero((highest > s - 4) & (lowest < s + 4))
        if not len(rows):
            continue
        part = slice(rows[0], rows[-1] + 1)
        off = np.abs(z[part] - np.float32(s))
        bars = np.clip((1.5 - off) / along[part] + 0.5, 0, 1)
        bars *= np.clip((0.28 - np.abs(_wrap(d[part], 1.1))) / footprint[part] + 0.5, 0, 1)
        stop = np.clip((0.2 - np.abs(off - 3)) / along[part] + 0.5, 0, 1)
        paint[part] = np.where(off < 2.4, bars, np.maximum(paint[part], stop))
    paint *= np.float32(0.9)
    return paint


def _joints(d: np.ndarray, z: np.ndarray, footprint: np.ndarray, along: np.ndarray, ground: Ground) -> np.ndarray:
    """Share of a pixel taken by the gaps between paving slabs."""
    length, width = ground.slab
    return np.maximum(_line(_wrap(d, width), 0.02, footprint), _line(_wrap(z, length), 0.02, along))


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
    share = np.clip(rise / np.hypot(level, rise) * 1.9, 0, 1)[..., None] ** 0.8
    color = (np.array(light.skyline) * (1 - share) + np.array(light.zenith) * share).astype(np.float32)
    # Clouds lie on a plane overhead, so they flatten towards the horizon.
    plane = np.maximum(rise, 0.02)
    aside = ((np.arange(width) - column) / camera.focal)[None, :]
    sin, cos = np.sin(camera.yaw), np.cos(camera.yaw)
    scale, level = (30 / plane).astype(np.float32), level.astype(np.float32)
    aside = aside.astype(np.float32)
    x = scale * (level * np.float32(sin) + aside * np.float32(cos)) + np.float32(clouds)
    y = scale * (level * np.float32(cos) - aside * np.float32(sin))
    field = sample_noise(1.5, x, y)
    cover = np.clip((field + np.float32(2.2 * light.cover - 1.2)) * np.float32(0.8), 0, 1)
    cover *= np.clip(rise * 10, 0, 1).astype(np.float32) * np.float32(0.9)
    tone = cover * (np.float32(0.92) + np.float32(0.05) * field)
    color = color * (1 - cover)[..., None] + tone[..., None] * np.array(light.cloud, dtype=np.float32)
    canvas.image[:last] = np.clip(color, 0, 255).astype(np.uint8)
    canvas.label[:last] = SKY


def draw_skyline(canvas: Canvas, seed: int) -> None:
    """Paint distant roofs and woods along the horizon, all the way round."""
    rng = np.random.default_rng(seed)
    starts = np.arange(0, 2 * np.pi, 0.045)
    traits = rng.random((len(starts), 4))
    eye = np.array(canvas.camera.position)
    off = np.abs(np.angle(np.exp(1j * (starts + 0.03 - canvas.camera.yaw))))
    half_view = np.arctan(canvas.camera.size[1] / 2 / canvas.camera.focal) + 0.08
    for start, (wide, tall, wood, tone) in zip(starts[off < half_view], traits[off < half_view]):
        profile = _WOOD if wood < 0.5 else _ROOFS
        angle = start + (0.04 + 0.05 * wide) * profile[:, 0]
        rise = (0.012 + 0.038 * tall) * profile[:, 1]
        points = eye + 150 * np.stack([np.sin(angle), rise, np.cos(angle)], axis=1)
        color = np.array([70, 105, 85] if wood < 0.5 else [120, 125, 135]) * (0.8 + 0.4 * tone)
        canvas.polygon(points, color, TREE if wood < 0.5 else BUILDING)
