"""Rendering of an image and its label from a street, a camera and a time."""

from functools import lru_cache

import cv2
import numpy as np

from lsabinet_core.data.street.camera import Camera
from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.element import VIEW_M, far_to_near
from lsabinet_core.data.street.ground import draw_ground, draw_sky, draw_skyline
from lsabinet_core.data.street.layout import Street
from lsabinet_core.data.street.light import Light

_SHADOWS_M = 50.0  # shadows of things further ahead are too flat to be seen
_CONTACT = 0.5  # light that is left right under a body


def render(street: Street, camera: Camera, time_s: float, noise_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one frame.

    Returns:
        image uint8 (H, W, 3) BGR and label uint8 (H, W), class ids of `lsabinet_core.labels.CAMVID`. Lens and sensor
        act on the image alone; the label has no blurred and no void pixels.
    """
    canvas = Canvas(camera, street.light)
    near = camera.position[2]
    visible, shadows, contacts = [], [], []
    for element in street.elements:
        s, _ = element.motion.at(time_s)
        if s + element.extent > near + 0.5 and s - element.extent < near + VIEW_M:
            visible.append(element)
        if -_SHADOWS_M / 4 < s - near < _SHADOWS_M:
            shadows += [(p, street.light.shadow) for p in element.shadows(street.course, street.light, time_s)]
            footprint = element.footprint(street.course, time_s)
            if footprint is not None:
                contacts.append((footprint, _CONTACT))
    draw_sky(canvas, street.clouds)
    draw_ground(canvas, street.course, street.ground, shadows + contacts)
    draw_skyline(canvas, street.skyline_seed)
    track = camera.position[0] - street.course.center(near)
    for element in far_to_near(visible, track, time_s):
        element.draw(canvas, street.course, time_s)
    return _expose(canvas.image, street.light, noise_seed), canvas.label


@lru_cache(maxsize=4)
def _vignette(size: tuple[int, int]) -> np.ndarray:
    """Squared distance from the centre, 1 in the corners, float32 (H, W, 3)."""
    height, width = size
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return np.repeat(((x * x + y * y) / 2)[..., None], 3, axis=2)


@lru_cache(maxsize=4)
def _grain(size: tuple[int, int]) -> np.ndarray:
    """Standard normal noise, larger than the image so that frames take different pieces of it."""
    shape = (size[0] + 61, size[1] + 67, 3)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def _expose(image: np.ndarray, light: Light, noise_seed: int) -> np.ndarray:
    height, width = image.shape[:2]
    sigma = light.blur * width / 480
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    levels = np.arange(256, dtype=np.float64)[None, :, None] * np.array(light.gain) / 255
    curve = np.clip(255 * np.clip(levels, 0, None) ** light.gamma, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, np.ascontiguousarray(curve))
    row, column = np.random.default_rng(noise_seed).integers(0, (61, 67))
    grain = _grain((height, width))[row : row + height, column : column + width]
    shaded = cv2.multiply(image, 1 - light.vignette * _vignette((height, width)), dtype=cv2.CV_32F)
    return cv2.add(shaded, light.noise * grain, dtype=cv2.CV_8U)
