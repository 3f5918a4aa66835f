"""The rasteriser against a ray caster that tests every triangle."""

import numpy as np
import pytest

from lsabinet_core.data.scenes.raster import NEAR_M, barycentric_rows, shadow_depths, visible_triangles

WIDTH, HEIGHT, FOCAL = 32, 24, 30.0
NO_MASKS = np.ones((1, 4, 4), bool)


def random_triangles(count=60, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.uniform((-4, -3, -1), (4, 3, 12), (count, 1, 3))
    points = (centers + rng.normal(0, 1.2, (count, 3, 3))).reshape(-1, 3)
    return points, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def cast_ray(points, triangles, ray):
    """Solve for the intersection with every triangle; returns (nearest triangle or -1, its depth along `ray`)."""
    nearest, best = -1, np.inf
    for index, (a, b, c) in enumerate(points[triangles]):
        system = np.stack([b - a, c - a, -ray], axis=1)
        if abs(np.linalg.det(system)) < 1e-12:
            continue
        u, v, depth = np.linalg.solve(system, -a)
        if u >= 0 and v >= 0 and u + v <= 1 and NEAR_M < depth < best:
            nearest, best = index, depth
    return nearest, best


def render(points, triangles, uv=None, cutouts=None, masks=NO_MASKS, label_masks=NO_MASKS):
    uv = np.zeros((len(points), 2), np.float32) if uv is None else uv
    cutouts = np.full(len(triangles), -1, np.int32) if cutouts is None else cutouts
    rows = barycentric_rows(points, triangles)
    return visible_triangles(
        points, triangles, rows, uv, cutouts, masks, label_masks, FOCAL, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT
    )


def test_visible_triangles_match_a_ray_caster():
    points, triangles = random_triangles()
    seen, labelled = render(points, triangles)
    assert np.array_equal(seen, labelled)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            ray = np.array([(x + 0.5 - WIDTH / 2) / FOCAL, (y + 0.5 - HEIGHT / 2) / FOCAL, 1.0])
            assert seen[y, x] == cast_ray(points, triangles, ray)[0], (y, x)
    assert (seen >= 0).mean() > 0.3
    assert len(np.unique(seen)) > 10


def test_barycentric_rows_recover_a_point():
    points, triangles = random_triangles(20, 3)
    weights = np.array([0.2, 0.5, 0.3])
    for row, corners in zip(barycentric_rows(points, triangles), points[triangles]):
        point = weights @ corners
        over_depth = row.reshape(3, 3) @ (point / point[2])
        assert over_depth * point[2] == pytest.approx(weights, abs=1e-6)


def test_image_and_label_have_separate_masks():
    """The left half of a square is transparent in the image mask, but opaque in the label mask."""
    points = np.array([(-1, -1, 3), (1, -1, 3), (1, 1, 3), (-1, 1, 3)], float)
    triangles = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    uv = np.array([(0, 0), (0.999, 0), (0.999, 0.999), (0, 0.999)], np.float32)
    mask = np.zeros((1, 8, 8), bool)
    mask[:, :, 4:] = True
    seen, labelled = render(points, triangles, uv, np.zeros(2, np.int32), mask, np.ones_like(mask))
    assert (labelled >= 0).sum() == 20 * 20
    assert (seen[:, : WIDTH // 2] == -1).all()
    assert np.array_equal(seen[:, WIDTH // 2 :], labelled[:, WIDTH // 2 :])


def test_shadow_map_contains_the_surface_nearest_to_the_sun():
    points = np.array([(2, 2, 5), (30, 2, 5), (2, 30, 5), (0, 0, 9), (32, 0, 9), (0, 32, 9)], float)
    triangles = np.array([(3, 4, 5), (0, 1, 2)], np.int32)
    depth = shadow_depths(points, triangles, np.zeros((6, 2), np.float32), np.full(2, -1, np.int32), NO_MASKS, 32)
    assert depth[5, 5] == 5
    assert depth[0, 0] == 9
    assert np.isinf(depth[31, 31])
