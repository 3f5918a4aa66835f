"""ZIP archive for the pixel-level task of the Cityscapes evaluation server.

It contains one 8-bit single-channel PNG of labelIds (not trainIds) per image, at the size of the image and without
folders. The server finds the result of an image by its name, ``CITY_NNNNNN_NNNNNN*.png``.
"""

import contextlib
import os
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lsabinet_core.data.cityscapes import IMAGE_SUFFIX, LABEL_IDS
from lsabinet_core.errors import DatasetError
from lsabinet_core.files import atomic_path

SERVER_SIZE = (1024, 2048)
"""(H, W) of all Cityscapes images, which the server requires."""

_TO_LABEL_ID = np.asarray(LABEL_IDS, dtype=np.uint8)


def to_label_ids(mask: np.ndarray) -> np.ndarray:
    """Convert trainIds 0..18, uint8 (H, W), to labelIds of the same shape.

    Raises:
        ValueError: an id is not one of the 19 classes.
    """
    if mask.max(initial=0) >= len(_TO_LABEL_ID):
        raise ValueError(f"expected class ids 0..{len(_TO_LABEL_ID) - 1}, got {mask.max()}")
    return _TO_LABEL_ID[mask]


class CityscapesSubmission:
    """Context manager that collects masks and writes the archive to ``path`` if it exits without an error.

    Args:
        path: file to write, ending in ``.zip``; an existing file is replaced.

    Attributes:
        count: number of masks so far.
        sizes: their sizes (H, W).

    Raises:
        DatasetError: the path does not end in ``.zip`` or is a folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if self.path.suffix.lower() != ".zip" or self.path.is_dir():
            raise DatasetError(f"expected a submission file that ends in .zip, got {self.path}")
        self.count = 0
        self.sizes: set[tuple[int, int]] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "CityscapesSubmission":
        temporary = self._stack.enter_context(atomic_path(self.path))
        # PNG is already compressed.
        self._zip = self._stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED))
        return self

    def add(self, name: str, mask: np.ndarray) -> None:
        """Add the result of one image.

        Args:
            name: ``CITY_NNNNNN_NNNNNN``, as ``Sample.name`` of the data set.
            mask: uint8 (H, W) of trainIds, at the size of the image.
        """
        encoded = cv2.imencode(".png", to_label_ids(mask))[1]
        # A bare ZipInfo has no modification time, so that equal masks give equal archives.
        self._zip.writestr(zipfile.ZipInfo(f"{name}{IMAGE_SUFFIX}"), encoded.tobytes())
        self.count += 1
        self.sizes.add(mask.shape)

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)
