"""Visibility by z-buffer: the triangle shown by each sample of the image, and the first surface on each sun ray.

Rasterisation in homogeneous coordinates (M. Olano, T. Greer, "Triangle Scan Conversion using 2D Homogeneous
Coordinates", 1997): triangles with camera-space vertices P need no clipping, because the barycentric coordinates
divided by depth are linear in the viewing ray.
"""

import numba
import numpy as np

NEAR_M = 0.25
_compiled = numba.njit(cache=True, nogil=True, fastmath=True)


@_compiled
def barycentric_rows(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Coefficients per triangle that map a viewing ray (x, y, 1) to barycentric coordinates divided by depth.

    Args:
        points: float64 (V, 3) in camera coordinates. triangles: int32 (T, 3).

    Returns:
        float64 (T, 9); rows of zeros for degenerate triangles.
    """
    rows = np.zeros((len(triangles), 9))
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        for i in range(3):
            p, q = (b, c) if i == 0 else ((c, a) if i == 1 else (a, b))
            rows[t, 3 * i] = p[1] * q[2] - p[2] * q[1]
            rows[t, 3 * i + 1] = p[2] * q[0] - p[0] * q[2]
            rows[t, 3 * i + 2] = p[0] * q[1] - p[1] * q[0]
        det = rows[t, 0] * a[0] + rows[t, 1] * a[1] + rows[t, 2] * a[2]
        # A loop compiles in a second less than an operation on the whole row.
        for i in range(9):
            rows[t, i] = 0.0 if abs(det) < 1e-12 else rows[t, i] / det
    return rows


@_compiled
def _bounds(
    points: np.ndarray, triangle: np.ndarray, focal: float, cx: float, cy: float, width: int, height: int
) -> tuple[int, int, int, int]:
    """Pixel box (left, right, top, bottom; exclusive ends) of a triangle in front of the near plane, possibly empty."""
    left, right, top, bottom = 1e9, -1e9, 1e9, -1e9
    for i in range(3):
        p, q = points[triangle[i]], points[triangle[(i + 1) % 3]]
        if p[2] > NEAR_M:
            x, y = p[0] / p[2] * focal + cx, p[1] / p[2] * focal + cy
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
        if (p[2] > NEAR_M) != (q[2] > NEAR_M):
            s = (NEAR_M - p[2]) / (q[2] - p[2])
            x = (p[0] + s * (q[0] - p[0])) / NEAR_M * focal + cx
            y = (p[1] + s * (q[1] - p[1])) / NEAR_M * focal + cy
            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    return (
        int(max(0.0, np.floor(left))),
        int(min(float(width), np.ceil(right) + 1)),
        int(max(0.0, np.floor(top))),
        int(min(float(height), np.ceil(bottom) + 1)),
    )


@_compiled
def visible_triangles(
    points: np.ndarray,
    triangles: np.ndarray,
    rows: np.ndarray,
    uv: np.ndarray,
    cutouts: np.ndarray,
    masks: np.ndarray,
    label_masks: np.ndarray,
    focal: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest triangle of every sample, for the image and for the label.

    Args:
        points: float64 (V, 3) in camera coordinates (x right, y down, z ahead).
        cutouts: int32 (T,), row of `masks` for triangles with holes, else -1.
        masks, label_masks: bool (K, S, S), the opaque parts of the masks in the image and in the label. They differ
            because annotators outline a tree or a fence as a whole, including holes.

    Returns:
        (image triangle, label triangle), int32 (height, width), -1 for the sky.
    """
    nearest = np.zeros((2, height, width), np.float32)  # largest 1 / z so far
    found = np.full((2, height, width), -1, np.int32)
    size = masks.shape[1]
    for t in range(len(triangles)):
        r = rows[t]
        if r[0] == 0 and r[1] == 0 and r[2] == 0 and r[3] == 0 and r[4] == 0 and r[5] == 0:
            continue
        left, right, top, bottom = _bounds(points, triangles[t], focal, cx, cy, width, height)
        mask = cutouts[t]
        for y in range(top, bottom):
            dy = (y + 0.5 - cy) / focal
            for x in range(left, right):
                dx = (x + 0.5 - cx) / focal
                a = r[0] * dx + r[1] * dy + r[2]
                b = r[3] * dx + r[4] * dy + r[5]
                c = r[6] * dx + r[7] * dy + r[8]
                if a < 0 or b < 0 or c < 0:
                    continue
                w = a + b + c
                if w >= 1 / NEAR_M:
                    continue
                in_image, in_label = w > nearest[0, y, x], w > nearest[1, y, x]
                if mask >= 0 and (in_image or in_label):
                    u = (a * uv[triangles[t, 0], 0] + b * uv[triangles[t, 1], 0] + c * uv[triangles[t, 2], 0]) / w
                    v = (a * uv[triangles[t, 0], 1] + b * uv[triangles[t, 1], 1] + c * uv[triangles[t, 2], 1]) / w
                    column = int((u - np.floor(u)) * size) % size
                    row = int((v - np.floor(v)) * size) % size
                    in_image = in_image and masks[mask, row, column]
                    in_label = in_label and label_masks[mask, row, column]
                if in_image:
                    nearest[0, y, x] = w
                    found[0, y, x] = t
                if in_label:
                    nearest[1, y, x] = w
                    found[1, y, x] = t
    return found[0], found[1]


@_compiled
def shadow_depths(
    points: np.ndarray, triangles: np.ndarray, uv: np.ndarray, cutouts: np.ndarray, masks: np.ndarray, size: int
) -> np.ndarray:
    """Distance to the first surface along the sun's rays.

    Args:
        points: float64 (V, 3) in the sun's coordinates: x and y in texels of the map, z increases away from the sun.

    Returns:
        float32 (size, size), inf where there is no surface.
    """
    depth = np.full((size, size), np.inf, np.float32)
    mask_size = masks.shape[1]
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-9:
            continue
        left = int(max(0.0, np.floor(min(a[0], b[0], c[0]))))
        right = int(min(size - 1.0, np.ceil(max(a[0], b[0], c[0]))))
        top = int(max(0.0, np.floor(min(a[1], b[1], c[1]))))
        bottom = int(min(size - 1.0, np.ceil(max(a[1], b[1], c[1]))))
        mask = cutouts[t]
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                wa = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) / area
                wb = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) / area
                wc = 1 - wa - wb
                if wa < 0 or wb < 0 or wc < 0:
                    continue
                z = wa * a[2] + wb * b[2] + wc * c[2]
                if z >= depth[y, x]:
                    continue
                if mask >= 0:
                    u = wa * uv[triangles[t, 0], 0] + wb * uv[triangles[t, 1], 0] + wc * uv[triangles[t, 2], 0]
                    v = wa * uv[triangles[t, 0], 1] + wb * uv[triangles[t, 1], 1] + wc * uv[triangles[t, 2], 1]
                    column = int((u - np.floor(u)) * mask_size) % mask_size
                    row = int((v - np.floor(v)) * mask_size) % mask_size
                    if not masks[mask, row, column]:
                        continue
                depth[y, x] = z
    return depth
