"""Cityscapes (Cordts et al., CVPR 2016): 19 evaluated classes at 1024x2048.

ROOT/leftImg8bit/{train,val,test}/CITY/CITY_NNNNNN_NNNNNN_leftImg8bit.png
ROOT/gtFine/{train,val,test}/CITY/CITY_NNNNNN_NNNNNN_gtFine_labelIds.png     (or _labelTrainIds.png)
"""

from pathlib import Path

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CITYSCAPES, VOID

from .files import check_pair, read_image, read_label
from .sample import Sample

SPLITS = ("train", "val", "test")
IMAGE_SUFFIX = "_leftImg8bit.png"

# trainId -> labelId, cityscapesScripts' helpers/labels.py.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

_FROM_LABEL_ID = np.full(256, -1, np.int16)
_FROM_LABEL_ID[:34] = VOID
_FROM_LABEL_ID[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
# labelId -1 (licence plate) is 255 in a uint8 file.
_FROM_LABEL_ID[255] = VOID

_FROM_TRAIN_ID = np.full(256, -1, np.int16)
_FROM_TRAIN_ID[: len(CITYSCAPES)] = np.arange(len(CITYSCAPES))
_FROM_TRAIN_ID[255] = VOID

# In order of preference.
_LABEL_FILES = (("_gtFine_labelTrainIds.png", _FROM_TRAIN_ID), ("_gtFine_labelIds.png", _FROM_LABEL_ID))


class Cityscapes:
    """A split of Cityscapes; samples are read from disk on access.

    The labels of ``test`` are not public: its samples have ``label=None``.

    Raises:
        DatasetError: unknown split, missing folder, or an image without a label; the message names it.
    """

    name = "cityscapes"
    licence = "Cityscapes terms of use: non-commercial, registration required"
    label_set = CITYSCAPES

    def __init__(self, root: str | Path, split: str):
        if split not in SPLITS:
            raise DatasetError(f"unknown Cityscapes split {split!r}: choose one of {', '.join(SPLITS)}")
        self.root = Path(root)
        self.split = split
        folder = self.root / "leftImg8bit" / split
        self.images = sorted(folder.glob(f"*/*{IMAGE_SUFFIX}"))
        if not self.images:
            raise DatasetError(f"{folder}: expected images CITY/*{IMAGE_SUFFIX}, got none: check --root")
        self.labels = [None if split == "test" else self._find_label(image) for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int) -> Sample:
        path = self.images[index]
        image, label = read_image(path), None
        if (found := self.labels[index]) is not None:
            label_path, lookup = found
            label = read_label(label_path, lookup)
            check_pair(image, label, path, label_path)
        return Sample(image, label, path.name.removesuffix(IMAGE_SUFFIX))

    def _find_label(self, image: Path) -> tuple[Path, np.ndarray]:
        folder = self.root / "gtFine" / self.split / image.parent.name
        stem = image.name.removesuffix(IMAGE_SUFFIX)
        for suffix, lookup in _LABEL_FILES:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}", lookup
        raise DatasetError(f"{image}: no label; expected {folder / stem}{_LABEL_FILES[1][0]}")
