"""Reading of a data set's image and label files; errors name the file."""

from pathlib import Path

import numpy as np

from lsabinet_core import images
from lsabinet_core.errors import DatasetError, FrameError

from .label_png import decode_label


def read_image(path: Path) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) BGR. Raise DatasetError if the file is missing or not an image."""
    try:
        return images.read_image(path)
    except FrameError as error:
        raise DatasetError(str(error)) from None


def read_label(path: Path, lookup: np.ndarray) -> np.ndarray:
    """Read a label as uint8 (H, W) class ids, converted with ``lookup``.

    Args:
        path: a single-channel PNG with the data set's own ids: grey or palette, of any bit depth.
        lookup: int16 (256,), the class id or VOID for each stored value, -1 for invalid values.

    Raises:
        DatasetError: the file is missing, is not such a PNG, or contains an invalid value.
    """
    raw = read_stored_label(path)
    label = lookup[raw]
    if label.min() < 0:
        unknown = sorted({int(value) for value in np.unique(raw[label < 0])})
        raise DatasetError(
            f"{path}: label {unknown[0]} is not an id of this data set: check that the annotations use its ids"
        )
    return label.astype(np.uint8)


def read_stored_label(path: Path) -> np.ndarray:
    """Return the stored values of a label file, uint8 (H, W). Raise DatasetError if it cannot be read or decoded."""
    try:
        return decode_label(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None


def check_pair(image: np.ndarray, label: np.ndarray, image_path: Path, label_path: Path) -> None:
    """Raise DatasetError unless image and label have the same height and width."""
    if image.shape[:2] != label.shape:
        raise DatasetError(
            f"{label_path}: label of {label.shape} for an image of {image.shape[:2]} ({image_path}): expected the same "
            "height and width"
        )
