"""Registry of the data sets."""

import importlib
from pathlib import Path

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, CITYSCAPES, LabelSet

from .sample import Sample, SegmentationDataset

# name -> (module in this package, class), imported on demand
_CLASSES = {
    "camvid": ("camvid", "CamVid"),
    "cityscapes": ("cityscapes", "Cityscapes"),
    "folder": ("folder", "FolderDataset"),
    "synthetic": ("synthetic", "SyntheticDataset"),
}
DATASETS = tuple(_CLASSES)
"""Names that ``open_dataset`` accepts."""

WITHOUT_FOLDER = {"synthetic"}
"""Data sets that are rendered instead of read."""

# Data sets whose classes are known without reading a folder.
LABEL_SETS: dict[str, LabelSet] = {"camvid": CAMVID, "cityscapes": CITYSCAPES, "synthetic": CAMVID}


def open_dataset(name: str, root: str | Path | None, split: str) -> SegmentationDataset:
    """Open a split of one of ``DATASETS`` and check that its files exist.

    Args:
        name: the data set. ``folder`` is a user's data set, described by its ``folder.FolderDescription``.
        root: the data set's folder; ignored for ``synthetic``, which is rendered.
        split: ``train``, ``val`` or ``test``. CamVid and folders also have ``trainval`` and the leave-one-sequence-out
            folds ``drives:NAME:train`` (all drives but NAME) and ``drives:NAME:val`` (only NAME). The synthetic data
            set also has ``drive``.

    Raises:
        DatasetError: unknown name or split, no root, or a missing or invalid file; the message names it.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    module, class_name = _CLASSES[name]
    dataset = getattr(importlib.import_module(f"{__name__}.{module}"), class_name)
    if name in WITHOUT_FOLDER:
        return dataset(split)
    if root is None:
        raise DatasetError(f"data set {name!r} needs its folder: add --root DIR")
    return dataset(root, split)


__all__ = ["DATASETS", "LABEL_SETS", "Sample", "SegmentationDataset", "open_dataset"]
