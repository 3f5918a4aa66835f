"""Rendering of an image and its label from a seed."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import ArrayLike

from lsabinet_core.data.sample import Sample
from lsabinet_core.data.scenes import materials as kinds
from lsabinet_core.data.scenes.backdrop import add_bonnet
from lsabinet_core.data.scenes.camera import View, random_view
from lsabinet_core.data.scenes.ground import CELL_M, EXTENT, ORIGIN
from lsabinet_core.data.scenes.layout import random_site
from lsabinet_core.data.scenes.light import Light, random_light
from lsabinet_core.data.scenes.masks import cutout_masks
from lsabinet_core.data.scenes.mesh import Vector
from lsabinet_core.data.scenes.raster import barycentric_rows, shadow_depths, visible_triangles
from lsabinet_core.data.scenes.sensor import expose
from lsabinet_core.data.scenes.shade import shade
from lsabinet_core.data.scenes.site import Site
from lsabinet_core.data.scenes.surfaces import Environment
from lsabinet_core.data.street.textures import noise
from lsabinet_core.errors import DatasetError

SMALLEST_SIDE = 8
"""Pixels of the shortest side of a scene."""

_SAMPLES = 2  # per pixel along each axis
_SHADOW_TEXELS, _SHADOW_M = 1400, 96.0
_OCCLUSION_CELL_M = 0.25
_SKY, _MAX_LAMPS = 0, 14


def check_size(size: tuple[int, int]) -> None:
    """Raise DatasetError if scenes of ``size`` (H, W) are too small to be rendered."""
    if min(size) < SMALLEST_SIDE:
        raise DatasetError(f"expected scenes of at least {SMALLEST_SIDE}x{SMALLEST_SIDE}, got {size[0]}x{size[1]}")


def render_scene(seed: int, size: tuple[int, int], light_kind: str | None = None) -> Sample:
    """Render a random street site.

    Args:
        seed: any non-negative number; equal seeds give equal pixels on machines of the same kind.
        size: (height, width) in pixels. light_kind: one of `light.KINDS` (default: a random one).

    Returns:
        Image uint8 (H, W, 3) BGR and label uint8 (H, W), ids of `lsabinet_core.labels.CAMVID` and 255 for void.

    Raises:
        DatasetError: see ``check_size``.
    """
    check_size(size)
    rng = np.random.default_rng(seed)
    light = random_light(rng, light_kind)
    site = random_site(rng, light)
    view = random_view(rng, size, site.camera_x, site.heading(0.0))
    if rng.random() < 0.16:
        lowest = np.arctan(0.5 * size[0] / size[1] / view.focal)
        add_bonnet(rng, site, view.position, view.rotation, float(lowest))
    ground_material = site.materials.add(kinds.GROUND, (0.2, 0.2, 0.2))
    site.mesh.quad((-500, 0, -60), (1000, 0, 0), (0, 0, 900), ground_material, 255, normal=(0, 1, 0))
    image, label = _draw(rng, site, view, light, ground_material)
    return Sample(expose(rng, image, light.name == "night", light.rain), label, f"scene_{seed:08d}")


def _draw(
    rng: np.random.Generator, site: Site, view: View, light: Light, ground_material: int
) -> tuple[np.ndarray, np.ndarray]:
    vertices, normals, uv, triangles, material_of, classes, seeds = site.mesh.arrays()
    table, mask_of = site.materials.table(), site.materials.mask_of()
    masks, label_masks = cutout_masks()
    ground, ground_classes = site.ground.render(site.wear)
    height, width = view.size
    # The image is rendered larger, because barrel distortion shrinks it.
    inner = (int(np.ceil(height * view.margin)), int(np.ceil(width * view.margin)))
    focal = view.focal * width * _SAMPLES
    cx, cy = inner[1] * _SAMPLES / 2, inner[0] * _SAMPLES / 2
    points = view.to_camera(vertices)
    rows = barycentric_rows(points, triangles)
    cutouts = mask_of[material_of]
    seen, labelled = visible_triangles(
        points,
        triangles,
        rows,
        uv,
        cutouts,
        masks,
        label_masks,
        focal,
        cx,
        cy,
        inner[1] * _SAMPLES,
        inner[0] * _SAMPLES,
    )
    environment = _environment(
        rng, site, view, light, vertices, triangles, uv, cutouts, masks, material_of, table, ground
    )
    image, mirror = shade(
        environment,
        seen,
        view.position,
        view.rotation,
        focal,
        cx,
        cy,
        rows,
        triangles,
        normals,
        uv,
        table,
        material_of,
        seeds,
        _SAMPLES,
    )
    if light.wetness > 0:
        image = _reflections(rng, image, mirror)
    label = _labels(
        labelled[::_SAMPLES, ::_SAMPLES],
        triangles,
        classes,
        material_of == ground_material,
        ground_classes,
        view,
        focal,
        cx,
        cy,
    )
    return view.distort(image, False)[:height, :width], view.distort(label, True)[:height, :width]


def _labels(
    found: np.ndarray,
    triangles: np.ndarray,
    classes: np.ndarray,
    is_ground: np.ndarray,
    ground_classes: np.ndarray,
    view: View,
    focal: float,
    cx: float,
    cy: float,
) -> np.ndarray:
    label = np.where(found >= 0, classes[found], np.uint8(_SKY))
    rows, columns = np.nonzero((found >= 0) & is_ground[found])
    x = (columns * _SAMPLES + 0.5 - cx) / focal
    y = (rows * _SAMPLES + 0.5 - cy) / focal
    rays = np.stack([x, y, np.ones_like(x)], 1) @ view.rotation
    points = view.position + rays * (-view.position[1] / np.minimum(rays[:, 1], -1e-6))[:, None]
    shape = ground_classes.shape
    row = np.clip((points[:, 2] - ORIGIN[1]) / CELL_M, 0, shape[0] - 1).astype(int)
    column = np.clip((points[:, 0] - ORIGIN[0]) / CELL_M, 0, shape[1] - 1).astype(int)
    label[rows, columns] = ground_classes[row, column]
    return label


def _environment(
    rng: np.random.Generator,
    site: Site,
    view: View,
    light: Light,
    vertices: np.ndarray,
    triangles: np.ndarray,
    uv: np.ndarray,
    cutouts: np.ndarray,
    masks: np.ndarray,
    material_of: np.ndarray,
    table: np.ndarray,
    ground: np.ndarray,
) -> Environment:
    right = np.cross((0, 1, 0), light.sun)
    right /= np.linalg.norm(right)
    up = np.cross(light.sun, right)
    middle = view.position + view.rotation[2] * np.array([30.0, 0, 30.0])
    axes = np.stack([right, up, -light.sun])
    scale = np.array([_SHADOW_TEXELS / _SHADOW_M, _SHADOW_TEXELS / _SHADOW_M, 1.0])
    rows = axes * scale[:, None]
    offset = -rows @ middle + (_SHADOW_TEXELS / 2, _SHADOW_TEXELS / 2, 0)
    if light.sun_color.max() > 0.02:
        kind = table[material_of, 0]
        casts = (kind != kinds.GROUND) & (kind != kinds.BACKDROP)
        depth = shadow_depths(vertices @ rows.T + offset, triangles[casts], uv, cutouts[casts], masks, _SHADOW_TEXELS)
    else:
        depth = np.full((1, 1), np.inf, np.float32)
    return Environment(
        sun=light.sun,
        sun_color=light.sun_color,
        sky_color=light.sky_color,
        bounce_color=light.bounce_color,
        zenith=light.zenith,
        horizon=light.horizon,
        cloud_color=light.cloud_color,
        cover=float(light.cover),
        cloud_shift=float(rng.uniform(0, 500)),
        fog_color=light.fog_color,
        fog_m=float(light.fog_m),
        wetness=float(light.wetness),
        snow=float(light.snow),
        lit=float(light.lit),
        lamps=_nearest_lamps(site.lamps, view),
        beam=float(light.beam),
        shadow=depth,
        shadow_rows=np.concatenate([rows, offset[:, None]], 1),
        occlusion=_occlusion(site.occluders),
        occlusion_cell=_OCCLUSION_CELL_M,
        origin=np.array(ORIGIN),
        ground=ground,
        ground_cell=CELL_M,
        coarse=noise(1.1),
        fine=noise(0.35),
    )


def _occlusion(polygons: Iterable[ArrayLike]) -> np.ndarray:
    """Return the fraction of the sky visible from the ground, computed from the outlines of objects on it."""
    shape = (int(EXTENT[1] / _OCCLUSION_CELL_M), int(EXTENT[0] / _OCCLUSION_CELL_M))
    blocked = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cells = np.rint((np.asarray(polygon, float) - ORIGIN) / _OCCLUSION_CELL_M * 16).astype(np.int32)
        cv2.fillPoly(blocked, [cells], 255, shift=4)
    near = cv2.GaussianBlur(blocked, (0, 0), 1.3).astype(np.float32) / 255
    wide = cv2.GaussianBlur(blocked, (0, 0), 10).astype(np.float32) / 255
    return (1 - 0.75 * near) * (1 - 0.45 * wide)


def _nearest_lamps(lamps: Iterable[tuple[Vector, Vector, bool]], view: View) -> np.ndarray:
    """Return the lamps nearest to the camera as float64 (N, 7): position, colour and reach."""
    chosen = []
    for position, color, headlight in lamps:
        ahead = (np.asarray(position) - view.position) @ view.rotation[2]
        if -12 < ahead < 90:
            chosen.append((abs(ahead) + (15 if headlight else 0), position, color, headlight))
    chosen.sort(key=lambda item: item[0])
    rows = [
        [*p, *(np.array(c) * (0.25 if headlight else 0.9)), 3.0 if headlight else 7.0]
        for _, p, c, headlight in chosen[:_MAX_LAMPS]
    ]
    return np.array(rows, np.float64).reshape(-1, 7)


def _reflections(rng: np.random.Generator, image: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Add reflections to wet ground: each image column is mirrored at the foot of its nearest object."""
    height, width = mirror.shape
    index = np.where(mirror < 0.01, np.arange(height)[:, None], -1)
    foot = np.maximum.accumulate(index, axis=0)
    rows = np.arange(height)[:, None]
    source = np.clip(2 * foot - rows, 0, height - 1).astype(np.float32)
    waves = np.roll(noise(0.9), rng.integers(0, 512, 2), (0, 1))
    waves = cv2.resize(waves, (width, height))
    columns = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width)) + waves * rng.uniform(0.5, 4)
    mirrored = cv2.remap(
        cv2.blur(image, (3, 11)),
        columns,
        source + waves * rng.uniform(0, 6),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    share = np.where(foot >= 0, np.clip(mirror, 0, 0.75), 0)[..., None].astype(np.float32)
    return image * (1 - share) + np.minimum(mirrored, 6.0) * share
