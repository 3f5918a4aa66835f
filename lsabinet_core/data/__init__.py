"""Data sets, by name."""

from pathlib import Path

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, CITYSCAPES, LabelSet

from .sample import Sample, SegmentationDataset

DATASETS = ("camvid", "cityscapes", "folder", "synthetic")

# Of those whose classes are known before a folder is read.
LABEL_SETS: dict[str, LabelSet] = {"camvid": CAMVID, "cityscapes": CITYSCAPES, "synthetic": CAMVID}


def open_dataset(name: str, root: str | Path | None, split: str) -> SegmentationDataset:
    """Open a split of one of ``DATASETS``; checks that its files are there.

    Args:
        name: the data set; ``folder`` is one that says itself what it is (``folder.FolderDescription``).
        root: its folder; ignored for ``synthetic``, which is rendered.
        split: ``train``, ``val``, ``test``; CamVid and folders also ``trainval`` and the folds ``drives:NAME:train``
            and ``drives:NAME:val``, which leave a drive out and hold it; synthetic also ``drive``.

    Raises:
        DatasetError: unknown name or split, no root, or a file that is missing or does not fit; names it.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    if name == "synthetic":
        from .synthetic import SyntheticDataset

        return SyntheticDataset(split)
    if root is None:
        raise DatasetError(f"data set {name!r} needs its folder: give --root DIR")
    if name == "camvid":
        from .camvid import CamVid

        return CamVid(root, split)
    if name == "folder":
        from .folder import FolderDataset

        return FolderDataset(root, split)
    from .cityscapes import Cityscapes

    return Cityscapes(root, split)


__all__ = ["DATASETS", "LABEL_SETS", "Sample", "SegmentationDataset", "open_dataset"]
