"""Registry of the data sets."""

from pathlib import Path

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, CITYSCAPES, LabelSet

from .sample import Sample, SegmentationDataset

DATASETS = ("camvid", "cityscapes", "folder", "synthetic")

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
    if name == "synthetic":
        from .synthetic import SyntheticDataset

        return SyntheticDataset(split)
    if root is None:
        raise DatasetError(f"data set {name!r} needs its folder: add --root DIR")
    if name == "camvid":
        from .camvid import CamVid

        return CamVid(root, split)
    if name == "folder":
        from .folder import FolderDataset

        return FolderDataset(root, split)
    from .cityscapes import Cityscapes

    return Cityscapes(root, split)


__all__ = ["DATASETS", "LABEL_SETS", "Sample", "SegmentationDataset", "open_dataset"]
