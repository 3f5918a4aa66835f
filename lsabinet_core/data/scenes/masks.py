"""Cut-out masks: leaves, bare branches, railings, meshes, spokes and skylines, drawn once per process.

Row 0 of a mask is its lower edge. Each mask has a second version for the label, because annotators outline trees and
fences as a whole and exclude only large holes.
"""

from functools import lru_cache

import cv2
import numpy as np

from lsabinet_core.data.street.textures import noise

SIZE = 256
LEAVES = (0, 1, 2, 3)
NEEDLES = 4
BRANCHES = (5, 6, 7, 8)
RAILING, MESH, SPOKES, TREE_LINE, ROOF_LINE, SCAFFOLD, LATTICE, HILLS = range(9, 17)


@lru_cache(maxsize=1)
def cutout_masks() -> tuple[np.ndarray, np.ndarray]:
    """Return (image masks, label masks), each bool (17, 256, 256)."""
    rng = np.random.default_rng(11)
    image, label = [], []
    for density in (0.25, 0.0, -0.25, 0.1):
        image.append(_clump(rng, density))
        label.append(_outline(image[-1], 5, 0.35))
    image.append(_needles(rng))
    label.append(_outline(image[-1], 5, 0.3))
    for depth in (5, 6, 6, 7):
        image.append(_branches(rng, depth))
        label.append(_outline(image[-1], 6, 0.16))
    full = np.ones((SIZE, SIZE), bool)
    for mask in (_railing(), _mesh()):
        image.append(mask)
        label.append(full)
    spokes = _spokes()
    image.append(spokes)
    label.append(_disc(0.49))
    for mask in (_ridge(rng, 0.75, 5.0, 0.55), _roofs(rng)):
        image.append(mask)
        label.append(mask)
    for mask in (_scaffold(), _lattice()):
        image.append(mask)
        label.append(full)
    hills = _ridge(rng, 0.25, 30.0, 0.5)
    image.append(hills)
    label.append(hills)
    return np.stack(image), np.stack(label)


def _outline(mask: np.ndarray, sigma: float, threshold: float) -> np.ndarray:
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return soft > threshold


def _clump(rng: np.random.Generator, density: float) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    falloff = 1.15 - 1.6 * (x * x + y * y)
    shift = rng.integers(0, 256, 2)
    leaves = np.roll(noise(0.45), shift, (0, 1))[:SIZE, :SIZE]
    soft = np.roll(noise(1.1), shift, (0, 1))[:SIZE, :SIZE]
    leaves = cv2.GaussianBlur(leaves, (0, 0), 1.6)
    return falloff + 0.7 * leaves / leaves.std() * 0.6 + 0.35 * soft + density > 0.35


def _needles(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(700):
        x, y = rng.normal(SIZE / 2, SIZE / 5, 2)
        angle = rng.normal(-np.pi / 2 + (x - SIZE / 2) / SIZE * 2, 0.6)
        end = (int(x + 22 * np.cos(angle)), int(y - 14 * np.sin(angle)))
        cv2.line(mask, (int(x), int(y)), end, 255, 2)
    return mask > 0


def _branches(rng: np.random.Generator, depth: int) -> np.ndarray:
    mask = np.zeros((4 * SIZE, 4 * SIZE), np.uint8)

    def grow(point: np.ndarray, angle: float, length: float, width: float, level: int) -> None:
        end = point + length * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(mask, tuple(int(v) for v in point), tuple(int(v) for v in end), 255, max(1, int(width)))
        if level == 0:
            return
        for _ in range(int(rng.integers(2, 4))):
            start = point + (end - point) * rng.uniform(0.55, 1.0)
            bend = rng.normal(0, 0.55)
            rise = 0.12 * (np.pi / 2 - angle)
            grow(start, angle + bend + rise, length * rng.uniform(0.62, 0.85), width * 0.62, level - 1)

    grow(np.array([2.0 * SIZE, 0.0]), np.pi / 2, rng.uniform(190, 240), 30, depth)
    points = cv2.findNonZero(mask)
    x, y, width, height = cv2.boundingRect(points)
    half = max(width / 2, 1)
    crop = mask[y : y + height, max(0, int(x + width / 2 - half)) : int(x + width / 2 + half)]
    return cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 40


def _railing() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    for column in range(0, SIZE, SIZE // 8):
        mask[:, column : column + 8] = True
    mask[-14:] = mask[16:28] = True
    return mask


def _mesh() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    mask = ((x + y) % 16 < 3) | ((x - y) % 16 < 3)
    mask[-8:] = mask[:6] = True
    mask[:, :8] = True
    return mask


def _disc(radius: float) -> np.ndarray:
    y, x = np.mgrid[-0.5 : 0.5 : SIZE * 1j, -0.5 : 0.5 : SIZE * 1j]
    return np.hypot(x, y) < radius


def _spokes() -> np.ndarray:
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    middle = (SIZE // 2, SIZE // 2)
    cv2.circle(canvas, middle, int(0.455 * SIZE), 255, 18)
    cv2.circle(canvas, middle, 14, 255, -1)
    for angle in np.arange(0, 2 * np.pi, np.pi / 9):
        end = (int(middle[0] + 112 * np.cos(angle)), int(middle[1] + 112 * np.sin(angle)))
        cv2.line(canvas, middle, end, 255, 2)
    return canvas > 0


def _periodic(rng: np.random.Generator, smooth: float) -> np.ndarray:
    spectrum = np.fft.rfft(rng.standard_normal(SIZE)) / (1 + np.arange(SIZE // 2 + 1) * smooth / 20) ** 1.1
    spectrum[0] = 0
    line = np.fft.irfft(spectrum, SIZE)
    return line / line.std()


def _ridge(rng: np.random.Generator, rough: float, smooth: float, base: float) -> np.ndarray:
    top = (base + 0.13 * _periodic(rng, smooth) + rough * 0.06 * rng.standard_normal(SIZE)) * SIZE
    return np.arange(SIZE)[:, None] < top[None, :]


def _roofs(rng: np.random.Generator) -> np.ndarray:
    top = np.zeros(SIZE)
    column = 0
    while column < SIZE:
        width = int(rng.integers(14, 44))
        height = rng.uniform(0.3, 0.85)
        x = np.linspace(-1, 1, width)
        roof = height + (0.12 * (1 - np.abs(x)) if rng.random() < 0.6 else 0 * x)
        if rng.random() < 0.5:
            at = int(rng.integers(0, width - 4))
            roof[at : at + 4] += 0.09
        top[column : column + width] = roof[: SIZE - column]
        column += width
    return np.arange(SIZE)[:, None] < SIZE * np.minimum(top, 0.98)[None, :]


def _scaffold() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    for at in range(0, SIZE, 64):
        mask[:, at : at + 6] = mask[at : at + 12] = True
    y, x = np.mgrid[:SIZE, :SIZE]
    return mask | (np.abs((x - y) % 128 - 64) < 3)


def _lattice() -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    mask = (np.abs((x + y) % 128 - 64) < 6) | (np.abs((x - y) % 128 - 64) < 6)
    mask[:14] = mask[-14:] = True
    return mask
