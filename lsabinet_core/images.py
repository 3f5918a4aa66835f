"""Reading and writing of image files."""

import logging
import os
from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.files import atomic_path

DARK_16_BIT = 65535 // 16
"""A 16-bit image whose values never exceed this probably has 12 significant bits or fewer."""

_PAGED_SUFFIXES = (".gif", ".png", ".tif", ".tiff", ".webp")

_log = logging.getLogger(__name__)
_told: set[Path] = set()


def read_image(path: Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3), BGR. 16-bit values are scaled by 255/65535, as in camera messages.

    Only the first page of a multi-page file is read; a warning is logged once per such file. A warning is also logged
    once per folder if a 16-bit image is so dark that it probably has fewer significant bits.

    Raises:
        FrameError: the file is missing, cannot be decoded, or has neither 8 nor 16 unsigned bits; names the file.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise FrameError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if encoded.size else None
    except cv2.error:
        # OpenCV raises for some broken files instead of returning None, e.g. if the header declares an absurd size.
        image = None
    if image is None:
        raise FrameError(f"{path}: not an image that can be decoded: the file is truncated or of another format")
    pages = _count_pages(path)
    if pages > 1:
        _warn_once(path, f"{path} has {pages} pages; only the first is read: save the others as separate files")
    if image.dtype == np.uint16:
        peak = int(image.max())
        if 0 < peak <= DARK_16_BIT:
            _warn_once(
                path.parent,
                f"{path}: this 16-bit image is nearly black, its maximum is {peak} of 65535. If its values have "
                f"{peak.bit_length()} bits, multiply them by {1 << 16 - peak.bit_length()} (docs/own_data.md). "
                "Other dark images in this folder are not reported",
            )
        return cv2.convertScaleAbs(image, alpha=255 / 65535)
    if image.dtype != np.uint8:
        raise FrameError(f"{path}: expected 8 or 16 bits per channel (unsigned), got {image.dtype}")
    return image


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a uint8 image (H, W) or BGR (H, W, 3) atomically; the suffix determines the format.

    Raises:
        FrameError: the format does not support the image.
        OSError: the file cannot be written; ``filename`` is set.
    """
    try:
        done, encoded = cv2.imencode(path.suffix, image)
    except cv2.error:
        done, encoded = False, None
    if not done or encoded is None:
        # JPEG supports at most 65500 pixels per side.
        raise FrameError(f"{path}: an image of {image.shape[0]}x{image.shape[1]} cannot be written as {path.suffix}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.data)


def name_for_opencv(path: str | os.PathLike) -> str:
    """Return the path as text. Raise FrameError if it is not UTF-8, with which OpenCV and FFmpeg would crash."""
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FrameError(f"{name!r} is not a name in UTF-8, which OpenCV and FFmpeg require: rename the file") from None
    return name


def _count_pages(path: Path) -> int:
    if path.suffix.lower() not in _PAGED_SUFFIXES:
        return 1
    try:
        return cv2.imcount(name_for_opencv(path))
    except (cv2.error, FrameError):
        return 1


def _warn_once(subject: Path, message: str) -> None:
    if subject not in _told:
        _told.add(subject)
        _log.warning(message)
