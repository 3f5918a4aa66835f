"""Procedural surfaces: the albedo, gloss and emission of every material at a point.

Compiled by Numba and called by `shade`.
"""

from typing import NamedTuple

import numba
import numpy as np

from lsabinet_core.data.scenes import materials as kinds

_compiled = numba.njit(cache=True, nogil=True, fastmath=True)


class Environment(NamedTuple):
    """Light and weather as the shader reads them. Colours are linear RGB, any positive range.

    Attributes:
        sun: unit vector towards the sun. sun_color, sky_color, bounce_color: light from the sun, the sky, the ground.
        zenith, horizon, cloud_color: colours of the visible sky. cover: cloud cover 0..1. cloud_shift: offset of the
            cloud pattern. fog_color, fog_m: colour of the fog, and the distance at which it replaces 63 % of a colour.
        wetness, snow: 0..1. lit: 1 if lamps and windows are on.
        lamps: float64 (L, 7): position, colour, and reach in metres. beam: strength of the ego headlights.
        shadow, shadow_rows: the shadow map, and float64 (3, 4) from world points to its coordinates.
        occlusion: float32 map of the sky light on the ground, cells of `occlusion_cell` metres from `origin` (x, z).
        ground: float32 (H, W, 6) map of albedo RGB, unused, noise contrast and wetness; cells of `ground_cell` metres.
        coarse, fine: periodic noise tiles.
    """

    sun: np.ndarray
    sun_color: np.ndarray
    sky_color: np.ndarray
    bounce_color: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cloud_color: np.ndarray
    cover: float
    cloud_shift: float
    fog_color: np.ndarray
    fog_m: float
    wetness: float
    snow: float
    lit: float
    lamps: np.ndarray
    beam: float
    shadow: np.ndarray
    shadow_rows: np.ndarray
    occlusion: np.ndarray
    occlusion_cell: float
    origin: np.ndarray
    ground: np.ndarray
    ground_cell: float
    coarse: np.ndarray
    fine: np.ndarray


@_compiled
def tile_noise(tile: np.ndarray, x: float, y: float) -> float:
    """Periodic noise, interpolated bilinearly; x and y in texels."""
    size = tile.shape[0]
    fx, fy = np.floor(x), np.floor(y)
    u, v = x - fx, y - fy
    i, j = int(fx) % size, int(fy) % size
    i2, j2 = (i + 1) % size, (j + 1) % size
    return (tile[j, i] * (1 - u) + tile[j, i2] * u) * (1 - v) + (tile[j2, i] * (1 - u) + tile[j2, i2] * u) * v


@_compiled
def _random(a: float, b: float, seed: int) -> float:
    """A pseudorandom number 0..1, determined by two cell numbers and a seed."""
    h = (int(a) * 374761393 + int(b) * 668265263 + int(seed) * 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@_compiled
def ramp(x: float) -> float:
    return min(max(x, 0.0), 1.0)


@_compiled
def _band(x: float, low: float, high: float, blur: float) -> float:
    """The share of a sample of width `blur` at x that lies between low and high."""
    return ramp((x - low) / blur + 0.5) * ramp((high - x) / blur + 0.5)


@_compiled
def _pattern(
    env: Environment, kind: int, u: float, v: float, blur: float, row: np.ndarray, seed: int, color: np.ndarray
) -> None:
    """Multiply a wall's colour by its pattern of bricks, panels or stones."""
    if kind == kinds.BRICK or kind == kinds.STONE:
        length, height = (0.23, 0.075) if kind == kinds.BRICK else (0.9, 0.42)
        course = np.floor(v / height)
        shift = u / length + 0.5 * (course % 2)
        tone = 1 + 0.3 * (_random(np.floor(shift), course, seed) - 0.5) * ramp(1.5 - blur / length)
        joint = 0.012 if kind == kinds.BRICK else 0.02
        fx, fy = (shift - np.floor(shift)) * length, v - course * height
        mortar = max(_band(fx, 0.0, joint, blur + 0.004), _band(fy, 0.0, joint, blur + 0.004)) * ramp(
            1.2 - blur / height
        )
        for k in range(3):
            color[k] *= tone * (1 - mortar) + mortar * (1.25 if kind == kinds.BRICK else 0.7)
    elif kind == kinds.PANEL:
        fx, fy = u / 1.5 - np.floor(u / 1.5), v / 1.2 - np.floor(v / 1.2)
        seam = max(_band(fx * 1.5, 0.0, 0.03, blur), _band(fy * 1.2, 0.0, 0.03, blur))
        tone = 1 + 0.1 * (_random(np.floor(u / 1.5), np.floor(v / 1.2), seed) - 0.5)
        for k in range(3):
            color[k] *= tone * (1 - 0.5 * seam)


@_compiled
def surface(  # noqa: C901, PLR0912 one branch for each material
    env: Environment,
    row: np.ndarray,
    seed: int,
    u: float,
    v: float,
    px: float,
    py: float,
    pz: float,
    blur: float,
    nx: float,
    ny: float,
    nz: float,
    out: np.ndarray,
) -> None:
    """Albedo RGB, gloss and emission RGB of a point, written to `out` (7,)."""
    kind = int(row[0])
    scale, strength = row[7], row[8]
    fade = ramp(1.4 - blur / (scale * 0.5))
    rough = 0.6 * tile_noise(env.coarse, u * 24 / scale + 37 * (seed % 97), v * 24 / scale) + 0.5 * fade * tile_noise(
        env.fine, u * 60 / scale, v * 60 / scale + 11 * (seed % 89)
    )
    mix = ramp(0.5 + 0.4 * tile_noise(env.coarse, u * 7 / scale + 13 * (seed % 83), v * 7 / scale + 150))
    for k in range(3):
        base, second = row[1 + k], row[4 + k]
        out[k] = base
        if kind == kinds.PLAIN or kind == kinds.LEAVES or kind == kinds.BACKDROP:
            out[k] = base * (1 - mix) + second * mix
        out[k] *= max(0.2, 1 + strength * rough)
        out[4 + k] = 0.0
    out[3] = row[9]
    if kind == kinds.GROUND:
        _ground(env, px, pz, blur, out)
    elif kind == kinds.FACADE:
        bay, storey, wide, high, pattern, lit, frame, sill = (
            row[11],
            row[12],
            row[13],
            row[14],
            row[15],
            row[16],
            row[17],
            row[18],
        )
        _pattern(env, int(pattern), u, v, blur, row, seed, out)
        column, floor = np.floor(u / bay), np.floor(v / storey)
        x, y = u - column * bay - (bay - wide) / 2, v - floor * storey - sill
        inside = _band(x, 0.0, wide, blur) * _band(y, 0.0, high, blur)
        surround = _band(x, -frame, wide + frame, blur) * _band(y, -1.5 * frame, high + frame, blur)
        for k in range(3):
            out[k] = out[k] * (1 - 0.8 * surround) + row[4 + k] * 0.8 * surround
        # Soot and rain streaks below the sills, and damp at the foot of the wall.
        streak = _band(x, 0.0, wide, blur + 0.1) * ramp(-y) * ramp(1 + y) * 0.25
        for k in range(3):
            out[k] *= 1 - streak
            out[k] *= 0.75 + 0.25 * ramp(v / 1.2)
        if inside > 0:
            chance = _random(column, floor, seed)
            bars = max(_band(x, 0.47 * wide, 0.53 * wide, blur), _band(y, 0.48 * high, 0.48 * high + frame * 0.6, blur))
            curtain = 1.0 if _random(column, floor, seed + 7) < 0.35 and abs(x / wide - 0.5) > 0.25 else 0.0
            depth = ramp((high - y) / 0.25) * ramp(x / 0.15)
            for k in range(3):
                pane = (0.02 + 0.05 * chance) * depth + 0.3 * curtain * chance
                pane = pane * (1 - bars) + row[4 + k] * bars
                out[k] = out[k] * (1 - inside) + pane * inside
            out[3] = out[3] * (1 - inside) + inside * (0.12 + 0.45 * chance) * (1 - bars)
            if chance < lit * env.lit:
                for k in range(3):
                    out[4 + k] = inside * (1 - bars) * (0.9, 0.65, 0.35)[k] * (0.3 + chance / max(lit, 0.01)) * 0.5
    elif kind == kinds.CURTAIN_WALL:
        wide, high, mullion, lit = row[11], row[12], row[13], row[14]
        column, floor = np.floor(u / wide), np.floor(v / high)
        bars = max(_band(u - column * wide, 0.0, mullion, blur), _band(v - floor * high, 0.0, mullion * 2, blur))
        chance = _random(column, floor, seed)
        for k in range(3):
            out[k] = row[1 + k] * (0.7 + 0.5 * chance) * (1 - bars) + row[4 + k] * bars
        out[3] = (row[9] * (0.6 + 0.6 * chance)) * (1 - bars)
        if chance < lit * env.lit:
            for k in range(3):
                out[4 + k] = (1 - bars) * (0.8, 0.75, 0.6)[k] * 0.35
    elif kind == kinds.SHOP:
        wide, high, board, glass = row[11], row[12], row[13], row[14]
        front = np.floor(u / wide)
        x = u - front * wide
        hue = _random(front, 3, seed)
        if v > high - board:
            # A signboard with letter-like marks.
            for k in range(3):
                out[k] = 0.03 + 0.75 * _random(front, 10 + k, seed) ** 2
            letter = _band(v, high - 0.72 * board, high - 0.28 * board, blur) * _band(x, 0.15 * wide, 0.8 * wide, blur)
            stroke = 1.0 if tile_noise(env.fine, u * 22, v * 9) > 0.2 else 0.0
            mark = letter * stroke
            tone = 0.75 if hue < 0.6 else 0.05
            for k in range(3):
                out[k] = out[k] * (1 - mark) + tone * mark
                out[4 + k] = env.lit * (0.5 * out[k] if hue < 0.5 else 0.0)
        else:
            pane = _band(x, 0.12, wide - 0.12, blur) * _band(v, 0.35 * (1 - glass) + 0.1, high - board - 0.1, blur)
            split = _band(x - 0.5 * wide, -0.03, 0.03, blur)
            pane *= 1 - split
            goods = ramp(0.5 + 0.6 * tile_noise(env.fine, u * 30 + seed % 61, v * 30)) * ramp(1.6 - v)
            for k in range(3):
                interior = 0.03 + 0.5 * goods * _random(np.floor(u * 2.5), np.floor(v * 3) + 20 * k, seed)
                out[k] = out[k] * (1 - pane) + interior * pane
                out[4 + k] = env.lit * pane * (0.35 + interior) * (0.9, 0.85, 0.7)[k] * (1.0 if hue < 0.7 else 0.1)
            out[3] = pane * 0.25
    elif kind == kinds.SIGN:
        _sign(int(row[11]), seed, u, v, blur, row, out)
    elif kind == kinds.ROOF:
        course = np.floor(v / row[11])
        fy = v / row[11] - course
        tone = 0.85 + 0.3 * _random(np.floor(u / 0.3 + 0.5 * (course % 2)), course, seed) * fade
        for k in range(3):
            out[k] *= tone * (1 - 0.35 * _band(fy, 0.0, 0.2, blur / row[11] + 0.02) * ramp(1.5 - blur / row[11]))
    elif kind == kinds.CLOTH:
        if row[11] > 0 and (v / row[11]) % 2 < 1:
            for k in range(3):
                out[k] = row[4 + k]
        for k in range(3):
            out[k] *= 0.85 + 0.25 * tile_noise(env.coarse, u * 90 + seed % 77, v * 90)
    elif kind == kinds.BOARDS:
        board = np.floor(u / row[11])
        fx = u / row[11] - board
        tone = 0.75 + 0.5 * _random(board, 0, seed)
        gap = _band(fx, 0.0, row[12], blur / row[11]) * ramp(1.5 - blur / row[11])
        for k in range(3):
            out[k] *= tone * (1 - 0.8 * gap)
    elif kind == kinds.LAMP:
        for k in range(3):
            out[4 + k] = row[1 + k] * row[10]
    elif kind == kinds.BACKDROP and row[11] > 0:
        x, y = u / 3.0 - np.floor(u / 3.0), v / 3.0 - np.floor(v / 3.0)
        pane = _band(x, 0.25, 0.75, 0.1) * _band(y, 0.3, 0.8, 0.1)
        for k in range(3):
            out[k] *= 1 - 0.5 * pane
    if env.snow > 0 and ny > 0.35 and kind != kinds.LAMP and kind != kinds.GROUND:
        share = ramp((ny - 0.35) * 2) * ramp(env.snow * 1.8 + 0.5 * rough - 0.3)
        for k in range(3):
            out[k] = out[k] * (1 - share) + (0.82, 0.85, 0.9)[k] * share


@_compiled
def _sign(face: int, seed: int, u: float, v: float, blur: float, row: np.ndarray, out: np.ndarray) -> None:
    """Face of a sign; u and v range from -1 to 1. The base colour is that of the face, the second that of the rim."""
    radius = max(abs(u), abs(v)) if face >= 3 else np.sqrt(u * u + v * v)
    rim = ramp((radius - 0.76) / max(blur, 0.02)) if face != 2 else 0.0
    ink = 0.0
    if face == 0 or face == 3:
        ink = _band(u, -0.12, 0.12, blur) * _band(v, -0.5, 0.5, blur)
        if _random(1, 1, seed) < 0.5:
            ink = max(ink, _band(v, -0.1, 0.1, blur) * _band(u, -0.5, 0.5, blur))
    elif face == 1:
        ink = _band(u, -0.55, 0.55, blur) * _band(v, -0.15, 0.15, blur)
    elif face == 4:
        line = np.floor(v * 3.5)
        ink = _band(v * 3.5 - line, 0.2, 0.7, blur * 3) * _band(u, -0.75, 0.75 - 0.9 * _random(line, 2, seed), blur)
        ink *= 1.0 if _random(np.floor(u * 9), line, seed) < 0.8 else 0.0
    elif face == 2:
        for k in range(3):
            out[k] = 0.05 + 0.7 * _random(np.floor(u * 1.5 + 9), np.floor(v * 2 + 9) + 10 * k, seed)
        ink = (
            0.8
            * _band(v, -0.3, 0.1, blur)
            * _band(u, -0.7, 0.6, blur)
            * (1.0 if _random(np.floor(u * 8), 5, seed) < 0.7 else 0.0)
        )
    dark = row[1] + row[2] + row[3] > 1.0
    for k in range(3):
        out[k] = out[k] * (1 - ink) + (0.03 if dark else 0.8) * ink
        out[k] = out[k] * (1 - rim) + row[4 + k] * rim


@_compiled
def _ground(env: Environment, px: float, pz: float, blur: float, out: np.ndarray) -> None:
    """Albedo of the ground from its map; `out[3]` receives its gloss."""
    height, width = env.ground.shape[:2]
    x = (px - env.origin[0]) / env.ground_cell - 0.5
    y = (pz - env.origin[1]) / env.ground_cell - 0.5
    x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
    i, j = int(x), int(y)
    a, b = x - i, y - j
    g = env.ground
    w00, w10, w01, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    rough = g[j, i, 4]
    near, far = ramp(1.5 - blur / 0.04), ramp(1.5 - blur / 0.3)
    grain = near * tile_noise(env.fine, px * 170, pz * 170) + 0.7 * far * tile_noise(env.coarse, px * 41 + 7, pz * 41)
    grain += 0.6 * tile_noise(env.coarse, px * 5.3, pz * 5.3 + 70)
    for k in range(3):
        c = g[j, i, k] * w00 + g[j, i + 1, k] * w10 + g[j + 1, i, k] * w01 + g[j + 1, i + 1, k] * w11
        out[k] = c * max(0.25, 1 + rough * grain)
    wet = g[j, i, 5] * w00 + g[j, i + 1, 5] * w10 + g[j + 1, i, 5] * w01 + g[j + 1, i + 1, 5] * w11
    pool = ramp(env.wetness * 2.2 + 0.55 * tile_noise(env.coarse, px * 3.7 + 33, pz * 3.7) - 1.0)
    damp = env.wetness * wet
    for k in range(3):
        out[k] *= 1 - 0.55 * damp
    out[3] = 0.02 + damp * (0.25 + 0.6 * pool)
    if env.snow > 0:
        cover = ramp(env.snow * 2.0 * (1.3 - wet) + 0.45 * tile_noise(env.coarse, px * 6, pz * 6) + 0.2 * grain - 0.4)
        for k in range(3):
            out[k] = out[k] * (1 - cover) + (0.8, 0.83, 0.88)[k] * cover * (1 + 0.08 * grain)
