"""Shading of the samples: procedural surfaces, sun with shadows, sky light, lamps, wet ground, snow and fog."""

import numba
import numpy as np

from lsabinet_core.data.scenes import materials as kinds
from lsabinet_core.data.scenes.surfaces import Environment, ramp, surface, tile_noise

_compiled = numba.njit(cache=True, nogil=True, fastmath=True)


@_compiled
def _sky(env: Environment, x: float, y: float, z: float, out: np.ndarray) -> None:
    """Colour of the sky in the direction of a unit vector."""
    t = np.sqrt(max(y, 0.0))
    for k in range(3):
        out[k] = env.horizon[k] * (1 - t) + env.zenith[k] * t
    if env.cover > 0 and y > 0.015:
        u, v = x / (y + 0.12) * 55 + env.cloud_shift, z / (y + 0.12) * 55
        n = 0.75 * tile_noise(env.coarse, u, v) + 0.25 * tile_noise(env.coarse, 3.1 * u, 3.1 * v)
        share = ramp((n + 2.2 * env.cover - 1.2) * 1.2) * ramp((y - 0.015) * 8)
        tone = 0.8 + 0.25 * tile_noise(env.coarse, 1.7 * u + 90, 1.7 * v)
        for k in range(3):
            out[k] = out[k] * (1 - share) + env.cloud_color[k] * tone * share
    glow = x * env.sun[0] + y * env.sun[1] + z * env.sun[2]
    if glow > 0:
        wide, narrow = glow**12 * 0.35, glow**900 * 30 + glow**120 * 0.8
        veil = 1 - 0.85 * env.cover
        for k in range(3):
            out[k] += env.sun_color[k] * (0.25 * wide + narrow) * veil


@_compiled
def _sunlit(env: Environment, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> float:
    """Share of sunlight that reaches a point, 0..1: the mean of 5 taps of the shadow map."""
    x, y, z = x + 0.06 * nx, y + 0.06 * ny, z + 0.06 * nz
    m = env.shadow_rows
    u = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    v = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    d = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3] - 0.08
    size = env.shadow.shape[0]
    total = 0.0
    for i in range(5):
        p = int(u + (0.0, 0.9, -0.9, 0.0, 0.0)[i])
        q = int(v + (0.0, 0.0, 0.0, 0.9, -0.9)[i])
        if p < 0 or q < 0 or p >= size or q >= size or env.shadow[q, p] >= d:
            total += 0.2
    return total


@_compiled
def _shade_sample(  # noqa: C901, PLR0912 a single pass over all light sources of a point
    env: Environment,
    t: int,
    dx: float,
    dy: float,
    dz: float,
    cx: float,
    cy: float,
    cz: float,
    rows: np.ndarray,
    triangles: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray,
    table: np.ndarray,
    material_of: np.ndarray,
    seeds: np.ndarray,
    rx: float,
    ry: float,
    blur_scale: float,
    scratch: np.ndarray,
    out: np.ndarray,
) -> float:
    """Linear RGB of triangle t along the world ray d (of camera depth 1) from the camera c."""
    r = rows[t]
    a = r[0] * rx + r[1] * ry + r[2]
    b = r[3] * rx + r[4] * ry + r[5]
    c = r[6] * rx + r[7] * ry + r[8]
    w = max(a + b + c, 1e-6)
    depth = 1.0 / w
    a, b, c = ramp(a / w), ramp(b / w), ramp(c / w)
    i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    px, py, pz = cx + dx * depth, cy + dy * depth, cz + dz * depth
    nx = a * normals[i, 0] + b * normals[j, 0] + c * normals[k, 0]
    ny = a * normals[i, 1] + b * normals[j, 1] + c * normals[k, 1]
    nz = a * normals[i, 2] + b * normals[j, 2] + c * normals[k, 2]
    length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
    nx, ny, nz = nx / length, ny / length, nz / length
    row = table[material_of[t]]
    kind = int(row[0])
    ray = np.sqrt(dx * dx + dy * dy + dz * dz)
    facing = -(nx * dx + ny * dy + nz * dz) / ray
    if facing < 0 and kind != kinds.LEAVES:
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    u = a * uv[i, 0] + b * uv[j, 0] + c * uv[k, 0]
    v = a * uv[i, 1] + b * uv[j, 1] + c * uv[k, 1]
    blur = blur_scale * depth / max(abs(facing), 0.12)
    surface(env, row, seeds[t], u, v, px, py, pz, blur, nx, ny, nz, scratch)
    distance = depth * ray
    sun = nx * env.sun[0] + ny * env.sun[1] + nz * env.sun[2]
    if kind == kinds.LEAVES:
        sun = 0.35 + 0.65 * sun if sun > 0 else 0.35 + 0.2 * sun
    direct = 0.0
    if sun > 0 and env.sun_color[0] + env.sun_color[1] > 0:
        direct = sun * _sunlit(env, px, py, pz, nx, ny, nz)
    open_sky = 0.55 + 0.45 * ny
    if py < 3.0:
        ox = int((px - env.origin[0]) / env.occlusion_cell)
        oz = int((pz - env.origin[1]) / env.occlusion_cell)
        if 0 <= ox < env.occlusion.shape[1] and 0 <= oz < env.occlusion.shape[0]:
            open_sky *= 1 - (1 - env.occlusion[oz, ox]) * ramp(1 - py / 3.0)
    for m in range(3):
        light = env.sun_color[m] * direct + env.sky_color[m] * open_sky + env.bounce_color[m] * (0.5 - 0.4 * ny)
        out[m] = light
    for n in range(env.lamps.shape[0]):
        lx, ly, lz = env.lamps[n, 0] - px, env.lamps[n, 1] - py, env.lamps[n, 2] - pz
        d2 = lx * lx + ly * ly + lz * lz
        reach = env.lamps[n, 6]
        if d2 < 9 * reach * reach:
            d1 = np.sqrt(d2) + 1e-6
            strength = (
                max(0.05, (nx * lx + ny * ly + nz * lz) / d1)
                / (1 + d2 / (reach * reach) * 4)
                * ramp(1.5 - d1 / (2 * reach))
            )
            for m in range(3):
                out[m] += env.lamps[n, 3 + m] * strength
    if env.beam > 0:
        # Low beams are wide, bright below the horizon, and fade with distance.
        cone = ramp(1.2 - abs(rx) * 1.6) * ramp(1.1 + (ry - 0.02) * 14 if ry < 0.02 else 1.0)
        strength = env.beam * cone * max(0.15, facing) / (1 + (distance / 14) ** 2)
        for m in range(3):
            out[m] += (1.0, 0.95, 0.85)[m] * strength
    for m in range(3):
        out[m] = out[m] * scratch[m] + scratch[4 + m]
    if scratch[3] > 0.01 and kind != kinds.GROUND:
        # Reflect the sky or, below the horizon, something dark.
        d = 2 * facing
        mx, my, mz = dx / ray + d * nx, dy / ray + d * ny, dz / ray + d * nz
        fresnel = scratch[3] + (1 - scratch[3]) * max(0.0, 1 - facing) ** 4 * (0.6 if scratch[3] > 0.1 else 0.2)
        red, green, blue = scratch[0], scratch[1], scratch[2]
        if my > 0:
            _sky(env, mx, my, mz, scratch)
        else:
            for m in range(3):
                scratch[m] = env.sky_color[m] * 0.25
        if my < 0.25:
            # Reflect the houses and trees on the other side.
            dim = 0.3 + 0.7 * ramp(my * 4) if my > 0 else 0.5
            for m in range(3):
                scratch[m] *= dim
        for m in range(3):
            out[m] = out[m] * (1 - fresnel) + min(scratch[m], 4.0) * fresnel
        scratch[0], scratch[1], scratch[2] = red, green, blue
    air = 1 - np.exp(-distance / env.fog_m)
    for m in range(3):
        out[m] = out[m] * (1 - air) + env.fog_color[m] * air
    return scratch[3] if kind == kinds.GROUND else 0.0


@_compiled
def shade(
    env: Environment,
    found: np.ndarray,
    camera: np.ndarray,
    rotation: np.ndarray,
    focal: float,
    cx: float,
    cy: float,
    rows: np.ndarray,
    triangles: np.ndarray,
    normals: np.ndarray,
    uv: np.ndarray,
    table: np.ndarray,
    material_of: np.ndarray,
    seeds: np.ndarray,
    samples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours of an image from `samples` x `samples` visible triangles per pixel.

    Args:
        found: int32 (samples H, samples W) of `visible_triangles`. camera: world position.
        rotation: float64 (3, 3), rows are the camera's right, down and ahead in world axes.
        focal, cx, cy: in samples of `found`.

    Returns:
        (linear RGB float32 (H, W, 3), mirror float32 (H, W): reflectance of the ground for the objects above it)
    """
    height, width = found.shape[0] // samples, found.shape[1] // samples
    image = np.empty((height, width, 3), np.float32)
    mirror = np.zeros((height, width), np.float32)
    scratch, color = np.zeros(7), np.zeros(3)
    seen = np.empty(samples * samples, np.int64)
    for y in range(height):
        for x in range(width):
            total0, total1, total2 = 0.0, 0.0, 0.0
            count = samples * samples
            for s in range(count):
                seen[s] = found[y * samples + s // samples, x * samples + s % samples]
            s = 0
            while s < count:
                t = seen[s]
                if t == -2:
                    s += 1
                    continue
                alike, sx, sy = 0, 0.0, 0.0
                for q in range(s, count):
                    if seen[q] == t:
                        alike += 1
                        sx += q % samples
                        sy += q // samples
                        if q > s:
                            seen[q] = -2
                rx = (x * samples + sx / alike + 0.5 - cx) / focal
                ry = (y * samples + sy / alike + 0.5 - cy) / focal
                dx = rotation[0, 0] * rx + rotation[1, 0] * ry + rotation[2, 0]
                dy = rotation[0, 1] * rx + rotation[1, 1] * ry + rotation[2, 1]
                dz = rotation[0, 2] * rx + rotation[1, 2] * ry + rotation[2, 2]
                if t < 0:
                    ray = np.sqrt(dx * dx + dy * dy + dz * dz)
                    _sky(env, dx / ray, dy / ray, dz / ray, color)
                    if dy < 0:
                        for m in range(3):
                            color[m] = env.fog_color[m]
                else:
                    mirror[y, x] += (
                        _shade_sample(
                            env,
                            t,
                            dx,
                            dy,
                            dz,
                            camera[0],
                            camera[1],
                            camera[2],
                            rows,
                            triangles,
                            normals,
                            uv,
                            table,
                            material_of,
                            seeds,
                            rx,
                            ry,
                            samples / focal,
                            scratch,
                            color,
                        )
                        * alike
                        / count
                    )
                total0 += color[0] * alike
                total1 += color[1] * alike
                total2 += color[2] * alike
                s += 1
            image[y, x, 0] = total0 / count
            image[y, x, 1] = total1 / count
            image[y, x, 2] = total2 / count
    return image, mirror
