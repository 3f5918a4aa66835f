"""Periodic noise and the painted textures of walls, fences and leaves.

Textures are BGR uint8; row 0 is the top of the surface. Every function is pure: equal arguments, equal pixels.
"""

from functools import lru_cache

import cv2
import numpy as np

from lsabinet_core.data.street.light import Color

NOISE_SIZE = 512


@lru_cache(maxsize=8)
def noise(exponent: float, seed: int = 0) -> np.ndarray:
    """Periodic float32 noise (512, 512), mean 0, deviation 1, with a power spectrum of 1/f^(2 exponent)."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.standard_normal((NOISE_SIZE, NOISE_SIZE)))
    frequency = np.hypot(np.fft.fftfreq(NOISE_SIZE)[:, None], np.fft.rfftfreq(NOISE_SIZE)[None, :])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(spectrum / frequency**exponent, s=(NOISE_SIZE, NOISE_SIZE))
    return np.clip(field / field.std(), -3, 3).astype(np.float32)


def sample_noise(exponent: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The noise at coordinates x, y (float32 arrays of one shape, in texels, any range up to 32000)."""
    return cv2.remap(noise(exponent), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


@lru_cache(maxsize=8)
def _tiled(exponent: float) -> np.ndarray:
    return np.tile(noise(exponent), (4, 4))


def crop_noise(exponent: float, shape: tuple[int, int], offset: int, step: int = 1) -> np.ndarray:
    """A (height, width) piece of the periodic noise, every `step`-th texel; up to 1536 texels a side."""
    row, column = offset % NOISE_SIZE, 7 * offset % NOISE_SIZE
    return _tiled(exponent)[row : row + step * shape[0] : step, column : column + step * shape[1] : step]


def speckle(
    color: Color | np.ndarray, shape: tuple[int, int], strength: float, offset: int, step: int = 1
) -> np.ndarray:
    """A wall of one colour (BGR) with soft stains and fine grain, uint8 (height, width, 3)."""
    coarse, fine = crop_noise(1.2, shape, offset, step), crop_noise(0.3, shape, offset, step)
    field = (1 + strength * 0.6 * coarse) + strength * 0.5 * fine
    return cv2.merge([cv2.convertScaleAbs(field, None, float(c)) for c in color])


def finish(texture: np.ndarray) -> np.ndarray:
    return np.clip(texture, 0, 255).astype(np.uint8)


def canopy(rng: np.random.Generator, color: Color | np.ndarray, light_from: float) -> tuple[np.ndarray, np.ndarray]:
    """The crown of a tree: BGR uint8 (128, 128, 3) and its mask uint8 0/255 with a ragged edge.

    Args:
        color: BGR of a leaf in full light.
        light_from: -1 (left) .. 1 (right), the side that the sun lights.
    """
    size = 128
    blob = np.zeros((size, size), np.float32)
    value = np.full((size, size), 0.45, np.float32)
    for _ in range(26):
        angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1)) * 0.33 * size
        x, y = size / 2 + distance * np.cos(angle), size / 2 + 0.9 * distance * np.sin(angle)
        radius = rng.uniform(0.09, 0.17) * size
        center = (int(x), int(y))
        cv2.circle(blob, center, int(radius), 1.0, -1)
        lit = 0.62 - 0.28 * (y / size - 0.5) * 2 + 0.16 * light_from * (x / size - 0.5) * 2 + rng.uniform(-0.08, 0.08)
        cv2.circle(value, center, int(radius), float(lit * 0.85), -1)
        shifted = (int(x + 0.25 * radius * light_from), int(y - 0.3 * radius))
        cv2.circle(value, shifted, int(0.6 * radius), float(lit), -1)
    offset = int(rng.integers(NOISE_SIZE))
    leaves = crop_noise(0.5, (size, size), offset)
    blob = cv2.GaussianBlur(blob, (0, 0), 4) + 0.13 * leaves
    blob[[0, -1], :] = blob[:, [0, -1]] = 0
    value = cv2.GaussianBlur(value, (0, 0), 1.5) * (1 + 0.24 * leaves)
    texture = value[..., None] * np.asarray(color, dtype=np.float32) * 1.45
    return finish(texture), np.where(blob > 0.5, np.uint8(255), np.uint8(0))


def hedge(color: Color | np.ndarray, length: float, height: float, offset: int, pixels_per_m: int) -> np.ndarray:
    """Clipped leaves, `length` x `height` metres."""
    shape = (max(2, int(height * pixels_per_m)), max(2, int(length * pixels_per_m)))
    field = 0.85 + 0.22 * crop_noise(0.5, shape, offset) + 0.1 * crop_noise(1.2, shape, offset)
    field *= np.linspace(1.15, 0.75, shape[0], dtype=np.float32)[:, None]
    return finish(field[..., None] * np.asarray(color, dtype=np.float32))


def boards(color: Color | np.ndarray, length: float, height: float, seed: int, pixels_per_m: int) -> np.ndarray:
    """A close-boarded fence: upright boards of differing tone with dark gaps and a top rail."""
    rng = np.random.default_rng(seed)
    board = 0.22
    count = max(1, round(length / board))
    texels = max(4, int(board * pixels_per_m))
    shape = (max(4, int(height * pixels_per_m)), count * texels)
    tone = np.repeat(rng.uniform(0.78, 1.12, count), texels).astype(np.float32)
    tone[::texels] *= 0.35
    tone[1::texels] *= 0.75
    texture = speckle(color, shape, 0.06, int(rng.integers(NOISE_SIZE))).astype(np.float32) * tone[None, :, None]
    rail = max(1, shape[0] // 14)
    texture[:rail] *= 1.15
    texture[rail : rail + max(1, rail // 2)] *= 0.6
    return finish(texture)


def railing(
    color: Color | np.ndarray, length: float, height: float, pitch: float, pixels_per_m: int
) -> tuple[np.ndarray, np.ndarray]:
    """Metal bars every `pitch` metres between two rails: BGR, and its opacity uint8 0..255."""
    count = max(2, round(length / pitch))
    texels = max(4, int(pitch * pixels_per_m))
    shape = (max(8, int(height * pixels_per_m)), count * texels)
    alpha = np.zeros(shape, np.uint8)
    bar = max(1, round(0.36 * texels))
    for first in range(0, shape[1], texels):
        alpha[:, first : first + bar] = 255
    rail = max(1, shape[0] // 13)
    alpha[:rail] = alpha[-2 * rail : -rail] = 255
    texture = np.empty((*shape, 3), np.float32)
    texture[:] = np.asarray(color, dtype=np.float32)
    texture[:, bar // 2 :: texels] *= 1.25
    return finish(texture), alpha
