"""Training augmentation of one sample: which view of it is drawn, and the view itself.

Drawing and applying are apart, so that a worker process (``apply_view``, OpenCV) and the device that holds the whole
data set (``device_augment``, PyTorch) make the same view of the same ``View``.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from pydantic import Field, PositiveInt, field_validator

from lsabinet_core.labels import VOID
from lsabinet_core.settings import Settings

from .sample import Sample

GREY = np.array([0.114, 0.587, 0.299])
"""Luma of B, G, R (ITU-R BT.601)."""


class Augmentation(Settings):
    """What the views of a sample are drawn from, and how the images of a batch are mixed (``batch_mixing``)."""

    crop_size: tuple[PositiveInt, PositiveInt] = Field((360, 480), description="(height, width) of the result")
    scales: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (1.0,), min_length=1, description="factors of the size at which images are segmented, one drawn for each"
    )
    mirror: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")
    brightness: float = Field(0.0, ge=0, lt=1, description="largest change, as a factor 1 +- x; 0 is off")
    contrast: float = Field(0.0, ge=0, lt=1, description="likewise, around the image's mean")
    saturation: float = Field(0.0, ge=0, lt=1, description="likewise, around each pixel's grey")
    hue: float = Field(0.0, ge=0, le=180, description="largest rotation of the colours around grey, in degrees")
    white_balance: float = Field(0.0, ge=0, lt=1, description="largest change of each channel, as a factor 1 +- x")
    rare_class_crop: float = Field(
        0.0, ge=0, le=1, description="probability that a crop is placed around a pixel of a class drawn by rarity"
    )
    cutmix: float = Field(0.0, ge=0, le=1, description="probability of a rectangle from another image of the batch")
    classmix: float = Field(
        0.0, ge=0, le=1, description="probability of half of the classes of another image of the batch"
    )

    @field_validator("classmix")
    @classmethod
    def _one_mixture_for_an_image(cls, classmix: float, info) -> float:
        if info.data.get("cutmix", 0) + classmix > 1:
            raise ValueError("expected cutmix + classmix of at most 1, as an image is mixed in one way")
        return classmix


@dataclass(frozen=True)
class View:
    """One random view of a sample, as drawn.

    Attributes:
        scaled: (height, width) to which the whole image is resized.
        corner: (row, column) in the resized image of the crop's top left pixel; negative where padding comes first.
        mirrored: whether the crop is flipped left to right.
        colours: float64 (3, 3), or None for no change. A pixel p of the crop, BGR, becomes ``colours @ p + offset``
            with ``offset = mean_factor * (mean luma of the crop, padding included)``.
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
    label: np.ndarray | None = None,
    class_pixels: np.ndarray | None = None,
    zoom: float = 1.0,
) -> View:
    """Draw a view.

    Args:
        settings: what to draw from.
        size: (height, width) of the image.
        rng: the only source of chance; the same state gives the same view.
        label: uint8 (H, W); needed for ``rare_class_crop`` and used for nothing else.
        class_pixels: integers (C,), labelled pixels of each class in the data set, from which follows how rare a class
            is; without it, the image's own counts decide.
        zoom: what scale 1 stands for, as a factor of the image's size (``zoom_to``).
    """
    scaled = scaled_size(size, zoom * settings.scales[rng.integers(len(settings.scales))])
    mirrored = bool(rng.random() < settings.mirror)
    rooms = [_corner_range(*axis) for axis in zip(scaled, settings.crop_size)]
    corner = _between(rooms, rng.random(2))
    colours, mean_factor = _draw_colours(settings, rng)
    if settings.rare_class_crop and rng.random() < settings.rare_class_crop:
        pixel = _draw_rare_pixel(label, class_pixels, rng)
        place = rng.random(2)
        if pixel is not None:
            corner = _between([_around(*axis) for axis in zip(pixel, size, scaled, settings.crop_size, rooms)], place)
    return View(scaled, corner, mirrored, colours, mean_factor)


def apply_view(
    image: np.ndarray, label: np.ndarray, view: View, crop_size: tuple[int, int], fill: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Make a view with OpenCV.

    An image is shrunk by area and enlarged linearly, its label takes the nearest pixel; all by pixel centres.

    Args:
        image: uint8 (H, W, 3) BGR.
        label: uint8 (H, W).
        view: drawn for this size.
        crop_size: (height, width) of the result, as in the settings that the view was drawn from.
        fill: colour (BGR, 0..255) of padding, which is labelled void.

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
    class_pixels: np.ndarray | None = None,
    zoom: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """A random view of a labelled sample: ``draw_view`` and ``apply_view``, see there."""
    view = draw_view(settings, sample.label.shape, rng, sample.label, class_pixels, zoom)
    return apply_view(sample.image, sample.label, view, settings.crop_size, fill)


SAME_SIZE = 0.02
"""Images whose sides differ by no larger share from what is asked for are taken as they are."""


def zoom_to(size: tuple[int, int], input_size: tuple[int, int]) -> float:
    """The factor by which an image of ``size`` comes to have as many pixels as ``input_size``, at its own aspect ratio.

    That is how frames are segmented, so that what a network learns has the scale of what it will see.
    """
    zoom = (input_size[0] * input_size[1] / (size[0] * size[1])) ** 0.5
    return 1.0 if abs(zoom - 1) <= SAME_SIZE else zoom


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(height, width) of an image of ``size`` times ``scale``, in whole pixels."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def nearest_pixels(length: int, scaled: int) -> np.ndarray:
    """int64 (scaled,): for each pixel of a resized axis the one of the original in which its centre lies.

    OpenCV's INTER_NEAREST goes by the pixels' top left corners instead, up to half a pixel off the image's.
    """
    return (2 * np.arange(scaled) + 1) * length // (2 * scaled)


class _Window(NamedTuple):
    """What a crop takes from an axis, and where it puts it."""

    source: slice
    result: slice


def _window(corner: int, crop: int, scaled: int) -> _Window:
    first, end = max(0, corner), min(scaled, corner + crop)
    return _Window(slice(first, end), slice(first - corner, end - corner))


def _padded(inside: np.ndarray, size: tuple[int, int], fill, rows: slice, columns: slice) -> np.ndarray:
    if inside.shape[:2] == size:
        return inside
    result = np.empty((*size, *inside.shape[2:]), np.uint8)
    result[:] = fill
    result[rows, columns] = inside
    return result


def _corner_range(scaled: int, crop: int) -> tuple[int, int]:
    """First and last coordinate of the crop's corner along one axis; one place where the crop is the larger."""
    padding = max(0, crop - scaled) // 2
    return (-padding, -padding) if crop > scaled else (0, scaled - crop)


def _between(ranges, place) -> tuple[int, int]:
    """Coordinates at ``place``, (y, x) in 0..1, of the inclusive ranges."""
    row, column = (low + int(share * (high - low + 1)) for (low, high), share in zip(ranges, place))
    return row, column


def _around(pixel: int, length: int, scaled: int, crop: int, room: tuple[int, int]) -> tuple[int, int]:
    """The part of ``room`` from which the crop covers the pixel, given in coordinates of the unscaled image."""
    at = (2 * pixel + 1) * scaled // (2 * length)
    return max(room[0], at - crop + 1), min(room[1], at)


def _draw_rare_pixel(label, class_pixels, rng) -> tuple[int, int] | None:
    """A pixel of a class that is in the image, drawn with weight 1 / pixels of the class; None if all is void."""
    counts = np.bincount(label.ravel(), minlength=VOID)[:VOID]
    present = np.flatnonzero(counts)
    if not len(present):
        return None
    weights = 1 / np.maximum(counts[present] if class_pixels is None else class_pixels[present], 1)
    chosen = rng.choice(present, p=weights / weights.sum())
    pixels = np.flatnonzero(label.ravel() == chosen)
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), label.shape[1])
    return row, column


def _draw_colours(settings: Augmentation, rng: np.random.Generator) -> tuple[np.ndarray | None, float]:
    strengths = np.array([settings.brightness, settings.contrast, settings.saturation, settings.hue])
    strengths = np.append(strengths, np.full(3, settings.white_balance))
    if not strengths.any():
        return None, 0.0
    change = strengths * rng.uniform(-1, 1, len(strengths))
    brightness, contrast, saturation = 1 + change[:3]
    # All are linear in the pixel: one 3x3 matrix and an offset in BGR.
    colours = saturation * _hue_rotation(np.deg2rad(change[3])) + (1 - saturation) * GREY[None, :]
    return brightness * contrast * np.diag(1 + change[4:]) @ colours, float(brightness * (1 - contrast))


def _hue_rotation(angle: float) -> np.ndarray:
    """The 3x3 matrix that turns colours by ``angle`` around the grey axis and leaves every grey as it is."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
