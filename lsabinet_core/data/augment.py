"""Training augmentation on one sample: mirror, scale, pad and random crop, as the paper's recipe has them."""

import cv2
import numpy as np
from pydantic import Field

from lsabinet_core.labels import VOID
from lsabinet_core.settings import Settings

from .sample import Sample

GREY = np.array([0.114, 0.587, 0.299])
"""Luma of B, G, R (ITU-R BT.601)."""


class Augmentation(Settings):
    """What ``augment`` draws from."""

    crop_size: tuple[int, int] = Field((360, 480), description="(height, width) of the result")
    scales: tuple[float, ...] = Field((1.0,), min_length=1, description="factors, one drawn for each image")
    mirror: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")
    brightness: float = Field(0.0, ge=0, lt=1, description="largest change, as a factor 1 +- x; 0 is off")
    contrast: float = Field(0.0, ge=0, lt=1, description="likewise, around the image's mean")
    saturation: float = Field(0.0, ge=0, lt=1, description="likewise, around each pixel's grey")
    hue: float = Field(0.0, ge=0, le=180, description="largest rotation of the colours around grey, in degrees")
    white_balance: float = Field(0.0, ge=0, lt=1, description="largest change of each channel, as a factor 1 +- x")


def augment(
    sample: Sample, settings: Augmentation, fill: tuple[int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random view of a labelled sample.

    Args:
        sample: any size.
        settings: what to draw from.
        fill: colour (BGR, 0..255) of padding, which is labelled void.
        rng: the only source of chance; the same state gives the same view.

    Returns:
        image uint8 (h, w, 3) BGR and label uint8 (h, w), both of ``crop_size``.
    """
    image, label = sample.image, sample.label
    scale = settings.scales[rng.integers(len(settings.scales))]
    mirrored = rng.random() < settings.mirror
    place = rng.random(2)
    if scale != 1:
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        shrinking = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, size, interpolation=shrinking)
        label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    image, label = _pad_and_crop(image, label, settings.crop_size, fill, place)
    if mirrored:
        image, label = image[:, ::-1], label[:, ::-1]
    return _photometric(image, settings, rng), np.ascontiguousarray(label)


def _pad_and_crop(image, label, size, fill, place):
    """Pad on all sides alike up to ``size``, then crop at ``place``, (y, x) in 0..1 of the room that there is."""
    height, width = size
    missing_y, missing_x = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    if missing_y or missing_x:
        top, left = missing_y // 2, missing_x // 2
        border = (top, missing_y - top, left, missing_x - left)
        image = cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=fill)
        label = cv2.copyMakeBorder(label, *border, cv2.BORDER_CONSTANT, value=VOID)
    top = int(place[0] * (image.shape[0] - height + 1))
    left = int(place[1] * (image.shape[1] - width + 1))
    window = np.s_[top : top + height, left : left + width]
    return image[window], label[window]


def _photometric(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    strengths = np.array([settings.brightness, settings.contrast, settings.saturation, settings.hue])
    strengths = np.append(strengths, np.full(3, settings.white_balance))
    if not strengths.any():
        return np.ascontiguousarray(image)
    change = strengths * rng.uniform(-1, 1, len(strengths))
    brightness, contrast, saturation = 1 + change[:3]
    # All are linear in the pixel: one 3x3 matrix and an offset in BGR.
    colours = saturation * _hue_rotation(np.deg2rad(change[3])) + (1 - saturation) * GREY[None, :]
    matrix = brightness * contrast * np.diag(1 + change[4:]) @ colours
    mean = float(image.reshape(-1, 3).mean(0) @ GREY)
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return cv2.transform(np.ascontiguousarray(image), np.hstack([matrix, offset]))


def _hue_rotation(angle: float) -> np.ndarray:
    """The 3x3 matrix that turns colours by ``angle`` around the grey axis and leaves every grey as it is."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
