"""Training augmentation of one sample: sampling of the parameters (``View``), and the transform itself.

The two are separate, so that a worker process (``apply_view``, OpenCV) and a device that holds the whole data set
(``device_augment``, PyTorch) produce the same result from the same ``View``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import Field, PositiveInt

from lsabinet_core.labels import VOID
from lsabinet_core.settings import Settings

from .sample import Sample

GREY = np.array([0.114, 0.587, 0.299])
"""Luma of B, G, R (ITU-R BT.601)."""


class Augmentation(Settings):
    """What the views of a sample are drawn from."""

    crop_size: tuple[PositiveInt, PositiveInt] = Field(default=(360, 480), description="(height, width) of the crop")
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1.0,), min_length=1, description="scale factors relative to the inference size; one is drawn per image"
    )
    mirror: float = Field(default=0.5, ge=0, le=1, description="probability of a left-right flip")
    brightness: float = Field(default=0.0, ge=0, lt=1, description="largest change, as a factor 1 +- x; 0 is off")
    contrast: float = Field(default=0.0, ge=0, lt=1, description="likewise, around the image's mean")
    saturation: float = Field(default=0.0, ge=0, lt=1, description="likewise, around each pixel's grey")
    hue: float = Field(default=0.0, ge=0, le=180, description="largest rotation of the colours around grey, in degrees")
    white_balance: float = Field(
        default=0.0, ge=0, lt=1, description="largest change of each channel, as a factor 1 +- x"
    )


@dataclass(frozen=True)
class View:
    """Sampled augmentation parameters of one sample.

    Attributes:
        scaled: (height, width) to which the whole image is resized.
        corner: (row, column) of the crop's top left pixel in the resized image; negative if the crop starts in padding.
        mirrored: whether the crop is flipped horizontally.
        colours: float64 (3, 3), or None for no colour change. A BGR pixel p of the crop becomes ``colours @ p +
            offset`` with ``offset = mean_factor * (mean luma of the crop, padding included)``.
        mean_factor: see ``colours``.
    """

    scaled: tuple[int, int]
    corner: tuple[int, int]
    mirrored: bool
    colours: np.ndarray | None = None
    mean_factor: float = 0.0


def draw_view(
    settings: Augmentation,
    size: tuple[int, int],
    rng: np.random.Generator,
    zoom: float = 1.0,
) -> View:
    """Sample the augmentation parameters of one image.

    Args:
        settings: ranges and probabilities.
        size: (height, width) of the image.
        rng: the only source of randomness; the same state gives the same view.
        zoom: what scale 1 stands for, as a factor of the image's size (``zoom_to``).
    """
    scaled = scaled_size(size, zoom * settings.scales[rng.integers(len(settings.scales))])
    mirrored = bool(rng.random() < settings.mirror)
    rooms = [_corner_range(*axis) for axis in zip(scaled, settings.crop_size)]
    corner = _between(rooms, rng.random(2))
    colours, mean_factor = _draw_colours(settings, rng)
    return View(scaled, corner, mirrored, colours, mean_factor)


def apply_view(
    image: np.ndarray, label: np.ndarray, view: View, crop_size: tuple[int, int], fill: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Apply a view with OpenCV.

    Images are downscaled by area averaging and upscaled bilinearly; labels use nearest neighbours. Pixel centres are
    aligned in all cases.

    Args:
        image: uint8 (H, W, 3) BGR.
        label: uint8 (H, W).
        view: a view drawn for this image size.
        crop_size: (height, width) of the result, equal to that of the settings used for ``view``.
        fill: padding colour (BGR, 0..255); padding is labelled void.

    Returns:
        image uint8 (h, w, 3) BGR and label uint8 (h, w), both of ``crop_size``.
    """
    size = label.shape
    rows, columns = (_window(*axis) for axis in zip(view.corner, crop_size, view.scaled))
    if view.scaled != size:
        shrinking = cv2.INTER_AREA if view.scaled < size else cv2.INTER_LINEAR
        image = cv2.resize(image, view.scaled[::-1], interpolation=shrinking)
    image = _padded(image[rows.source, columns.source], crop_size, fill, rows.result, columns.result)
    nearest_row, nearest_column = (nearest_pixels(*axis) for axis in zip(size, view.scaled))
    label = label.take(nearest_row[rows.source], axis=0).take(nearest_column[columns.source], axis=1)
    label = _padded(label, crop_size, VOID, rows.result, columns.result)
    if view.mirrored:
        image, label = image[:, ::-1], label[:, ::-1]
    image, label = np.ascontiguousarray(image), np.ascontiguousarray(label)
    if view.colours is not None:
        offset = view.mean_factor * float(image.reshape(-1, 3).mean(0) @ GREY)
        image = cv2.transform(image, np.hstack([view.colours, np.full((3, 1), offset)]))
    return image, label


def augment(
    sample: Sample,
    settings: Augmentation,
    fill: tuple[int, int, int],
    rng: np.random.Generator,
    zoom: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """A random view of a labelled sample: ``draw_view`` and ``apply_view``, see there."""
    label = sample.required_label
    view = draw_view(settings, label.shape, rng, zoom)
    return apply_view(sample.image, label, view, settings.crop_size, fill)


SAME_SIZE = 0.02
"""Relative size difference up to which an image is not resized."""


def zoom_to(size: tuple[int, int], input_size: tuple[int, int]) -> float:
    """Return the scale at which an image of ``size`` has the pixel count of ``input_size``, keeping its aspect ratio.

    Inference resizes frames in the same way, so that objects have the same scale in training and inference.
    """
    zoom = (input_size[0] * input_size[1] / (size[0] * size[1])) ** 0.5
    return 1.0 if abs(zoom - 1) <= SAME_SIZE else zoom


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return ``size`` (height, width) times ``scale``, rounded to at least one pixel."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def nearest_pixels(length: int, scaled: int) -> np.ndarray:
    """Return int64 (scaled,): the index of the input pixel that contains the centre of each output pixel of an axis.

    OpenCV's INTER_NEAREST samples at the top left corners of the pixels instead, up to half a pixel off.
    """
    return (2 * np.arange(scaled) + 1) * length // (2 * scaled)


class _Window(NamedTuple):
    """Source and destination slices of a crop along one axis."""

    source: slice
    result: slice


def _window(corner: int, crop: int, scaled: int) -> _Window:
    first, end = max(0, corner), min(scaled, corner + crop)
    return _Window(slice(first, end), slice(first - corner, end - corner))


def _padded(
    inside: np.ndarray, size: tuple[int, int], fill: int | tuple[int, int, int], rows: slice, columns: slice
) -> np.ndarray:
    if inside.shape[:2] == size:
        return inside
    result = np.empty((*size, *inside.shape[2:]), np.uint8)
    result[:] = fill
    result[rows, columns] = inside
    return result


def _corner_range(scaled: int, crop: int) -> tuple[int, int]:
    """Return the first and last corner coordinate along one axis; equal if the crop is larger than the image."""
    padding = max(0, crop - scaled) // 2
    return (-padding, -padding) if crop > scaled else (0, scaled - crop)


def _between(ranges: Iterable[tuple[int, int]], place: Iterable[float]) -> tuple[int, int]:
    """Return the coordinates at the relative position ``place``, (y, x) in 0..1, of two inclusive ranges."""
    row, column = (low + int(share * (high - low + 1)) for (low, high), share in zip(ranges, place))
    return row, column


def _draw_colours(settings: Augmentation, rng: np.random.Generator) -> tuple[np.ndarray | None, float]:
    strengths = np.array([settings.brightness, settings.contrast, settings.saturation, settings.hue])
    strengths = np.append(strengths, np.full(3, settings.white_balance))
    if not strengths.any():
        return None, 0.0
    change = strengths * rng.uniform(-1, 1, len(strengths))
    brightness, contrast, saturation = 1 + change[:3]
    # All changes are linear in the pixel value, so that one 3x3 matrix and an offset in BGR combine them.
    colours = saturation * _hue_rotation(np.deg2rad(change[3])) + (1 - saturation) * GREY[None, :]
    return brightness * contrast * np.diag(1 + change[4:]) @ colours, float(brightness * (1 - contrast))


def _hue_rotation(angle: float) -> np.ndarray:
    """Return the 3x3 matrix that rotates colours by ``angle`` (radians) around the grey axis."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
