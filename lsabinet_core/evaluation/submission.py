"""The zip that the Cityscapes server takes for its pixel-level task.

It holds one PNG per image, 8 bits and one channel, of labelIds (not the trainIds that networks learn), at the size of
the image and under the image's name, without folders. The server finds a result by ``CITY_NNNNNN_NNNNNN*.png``.
"""

import contextlib
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.data.cityscapes import IMAGE_SUFFIX, LABEL_IDS
from lsabinet_core.errors import DatasetError
from lsabinet_core.files import atomic_path

SERVER_SIZE = (1024, 2048)
"""(H, W) of every image of Cityscapes, and so of what the server takes."""

_TO_LABEL_ID = np.asarray(LABEL_IDS, dtype=np.uint8)


def to_label_ids(mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of trainIds 0..18 to labelIds of the same shape.

    Raises:
        ValueError: an id that is not one of the 19 classes.
    """
    if mask.max(initial=0) >= len(_TO_LABEL_ID):
        raise ValueError(f"expected class ids 0..{len(_TO_LABEL_ID) - 1}, got {mask.max()}")
    return _TO_LABEL_ID[mask]


class CityscapesSubmission:
    """A context manager that collects masks; the zip appears at ``path`` when it ends without an error.

    Args:
        path: ends in ``.zip``; an older one is replaced.

    Attributes:
        count: masks so far.
        sizes: their (H, W).

    Raises:
        DatasetError: a path that does not end in ``.zip`` or is a folder.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if self.path.suffix.lower() != ".zip" or self.path.is_dir():
            raise DatasetError(f"expected a submission to be a file that ends in .zip, got {self.path}")
        self.count = 0
        self.sizes: set[tuple[int, int]] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "CityscapesSubmission":
        temporary = self._stack.enter_context(atomic_path(self.path))
        # PNG is compressed already.
        self._zip = self._stack.enter_context(zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED))
        return self

    def add(self, name: str, mask: np.ndarray) -> None:
        """Add the result of one image.

        Args:
            name: ``CITY_NNNNNN_NNNNNN``, as ``Sample.name`` of the data set.
            mask: uint8 (H, W) of trainIds, at the size of the image.
        """
        encoded = cv2.imencode(".png", to_label_ids(mask))[1]
        # A ZipInfo of its own has no time of writing, so that the same masks give the same zip.
        self._zip.writestr(zipfile.ZipInfo(f"{name}{IMAGE_SUFFIX}"), encoded.tobytes())
        self.count += 1
        self.sizes.add(mask.shape)

    def __exit__(self, *error) -> bool | None:
        return self._stack.__exit__(*error)
