"""Sensor model: glare, dirt and rain on the lens, exposure, tone curve, noise, motion blur, JPEG compression."""

import cv2
import numpy as np

from lsabinet_core.data.street.textures import noise


def expose(rng: np.random.Generator, image: np.ndarray, night: bool, rain: float) -> np.ndarray:
    """Convert linear light to an 8-bit camera image.

    Args:
        image: float32 (H, W, 3) linear RGB, positive and unbounded.

    Returns:
        uint8 (H, W, 3) BGR.
    """
    height, width = image.shape[:2]
    scale = width / 480
    image = _glare(rng, image, night, scale)
    if rain > 0:
        image = _drops(rng, image, rain)
    if rng.random() < 0.25:
        image = image * _dirt(rng, image.shape[:2])
    if rng.random() < 0.5:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        image = image * (1 - rng.uniform(0, 0.35) * (x * x + y * y) / 2)[..., None].astype(np.float32)
    image = image * _exposure(rng, image)
    image = image * np.exp(rng.normal(0, 0.09, 3)).astype(np.float32)
    image = _tone(rng, image)
    image = _sharpness(rng, image, scale, night)
    image = _noise(rng, image, night)
    picture = np.clip(image[..., ::-1] * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.uniform(25, 95))
        _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        assert decoded is not None, "OpenCV can decode its own JPEG"
        return decoded
    return picture


def _glare(rng: np.random.Generator, image: np.ndarray, night: bool, scale: float) -> np.ndarray:
    """Add light scattered in the lens: halos around lamps at night, a veil against a bright sky."""
    strength = rng.uniform(0.02, 0.12) if night else rng.uniform(0.0, 0.06)
    bright = np.minimum(np.maximum(image - (0.5 if night else 1.2), 0), 12.0)
    wide = cv2.resize(
        cv2.GaussianBlur(cv2.resize(bright, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (0, 0), 5 * scale),
        image.shape[1::-1],
    )
    near = cv2.GaussianBlur(bright, (0, 0), 2.2 * scale)
    image = image + strength * (2.5 * wide + near)
    if night and rng.random() < 0.4:
        length = int(30 * scale) | 1
        star = cv2.blur(bright, (length, 1)) + cv2.blur(bright, (1, length))
        image = image + 0.15 * strength * star * 3
    if rng.random() < 0.35:
        image = image + float(image.mean()) * rng.uniform(0, 0.2)
    return image


def _drops(rng: np.random.Generator, image: np.ndarray, rain: float) -> np.ndarray:
    height, width = image.shape[:2]
    map_y, map_x = np.mgrid[:height, :width].astype(np.float32)
    cover = np.zeros((height, width), np.float32)
    for _ in range(int(rain * rng.uniform(5, 60))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2, 14) * width / 480
        left, right, top, bottom = (
            int(max(x - radius, 0)),
            int(min(x + radius, width)),
            int(max(y - radius, 0)),
            int(min(y + radius, height)),
        )
        yy, xx = np.mgrid[top:bottom, left:right].astype(np.float32)
        inside = ((xx - x) ** 2 + (yy - y) ** 2) < radius * radius
        bend = rng.uniform(1.5, 5)
        map_x[top:bottom, left:right][inside] = (x - (xx - x) * bend)[inside]
        map_y[top:bottom, left:right][inside] = (y - (yy - y) * bend)[inside]
        cover[top:bottom, left:right][inside] = 1.0
    drops = cv2.remap(
        cv2.GaussianBlur(image, (0, 0), 1.5), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    share = (cv2.GaussianBlur(cover, (0, 0), 0.8) * 0.85)[..., None]
    return image * (1 - share) + drops * share


def _dirt(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    field = (
        np.tile(noise(1.3), (2, 2))[: shape[0], : shape[1]]
        if max(shape) <= 1024
        else cv2.resize(noise(1.3), shape[::-1])
    )
    field = np.roll(field, rng.integers(0, 256, 2), (0, 1))
    return (1 - rng.uniform(0.05, 0.35) * np.clip(field - rng.uniform(0.2, 1.2), 0, 1))[..., None]


def _exposure(rng: np.random.Generator, image: np.ndarray) -> float:
    """Return the exposure: metered on the lower two thirds, with a random error (standard deviation 0.6 stops)."""
    half = image[image.shape[0] // 3 :]
    level = float(np.exp(np.mean(np.log(half.mean(axis=2) + 1e-3))))
    metered = 0.16 / max(level, 0.012)
    return metered * float(np.exp(rng.normal(-0.15, 0.42)))


def _tone(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply a tone curve with a soft or hard shoulder, then gamma, contrast and saturation."""
    if rng.random() < 0.5:
        white = rng.uniform(1.2, 5.0)
        image = image * (1 + image / white**2) / (1 + image) * rng.uniform(1.2, 1.6)
    image = np.clip(image, 0, 1) ** (1 / rng.uniform(1.8, 2.6))
    image = 0.5 + (image - 0.5) * rng.uniform(0.85, 1.4)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * rng.choice([rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.7)], p=(0.3, 0.7))
    return np.clip(image + rng.uniform(-0.03, 0.05), 0, 1)


def _sharpness(rng: np.random.Generator, image: np.ndarray, scale: float, night: bool) -> np.ndarray:
    kind = rng.random()
    if kind < 0.45:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3) * scale)
    elif kind < 0.65:
        image = image + rng.uniform(0.2, 1.2) * (image - cv2.GaussianBlur(image, (0, 0), 1.0 * scale))
    if rng.random() < (0.25 if night else 0.1):
        length = max(3, int(rng.uniform(2, 9) * scale))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.normal(0, 0.5)
        middle = (length - 1) / 2
        reach = middle * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(kernel, tuple(round(v) for v in (middle - reach)), tuple(round(v) for v in (middle + reach)), 1.0)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    return image


def _noise(rng: np.random.Generator, image: np.ndarray, night: bool) -> np.ndarray:
    """Add noise that is stronger in the dark, and partly correlated between pixels, as after a camera's own filter."""
    strength = rng.uniform(0, 0.06) if night else rng.uniform(0, 0.025)
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    if rng.random() < 0.5:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.8) * 1.8
    if rng.random() < 0.5:
        grain = grain[..., :1]
    return image + strength * grain * (1.2 - image)
