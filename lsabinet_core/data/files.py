"""Reading the image and label files of a data set, with errors that name the file."""

from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.errors import DatasetError


def read_image(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) BGR. Raises DatasetError where the file is missing or no image."""
    return _read(path, cv2.IMREAD_COLOR)


def read_label(path: Path, lookup: np.ndarray) -> np.ndarray:
    """uint8 (H, W) class ids, translated through ``lookup``.

    Args:
        path: an 8-bit single-channel PNG of the data set's own ids.
        lookup: int16 (256,), our id for each of the data set's, -1 for those that it does not have.

    Raises:
        DatasetError: missing, no image, not single-channel 8-bit, or an id that the data set does not have.
    """
    raw = _read(path, cv2.IMREAD_UNCHANGED)
    if raw.ndim != 2 or raw.dtype != np.uint8:
        raise DatasetError(f"{path}: expected an 8-bit single-channel label, got {raw.dtype} of shape {raw.shape}")
    label = lookup[raw]
    if label.min() < 0:
        unknown = sorted({int(value) for value in np.unique(raw[label < 0])})
        raise DatasetError(f"{path}: label {unknown[0]} is not an id of this data set: is this another labelling?")
    return label.astype(np.uint8)


def check_pair(image: np.ndarray, label: np.ndarray, image_path: Path, label_path: Path) -> None:
    """Raise DatasetError unless image and label have the same height and width."""
    if image.shape[:2] != label.shape:
        raise DatasetError(f"{label_path}: label of {label.shape} for an image of {image.shape[:2]} ({image_path})")


def _read(path: Path, flags: int) -> np.ndarray:
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    image = cv2.imdecode(encoded, flags) if encoded.size else None
    if image is None:
        raise DatasetError(f"{path}: not an image that can be decoded (truncated or another format)")
    return image
