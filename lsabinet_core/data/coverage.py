"""Check that the labels of a split contain its classes."""

import numpy as np

from lsabinet_core.errors import DatasetError

from .sample import SegmentationDataset

_VOID_HINT = (
    "If the annotations contain only 0 and 255: 255 means void unless dataset.yaml assigns it to a class "
    "(`ids: [255]`) and sets `void: []`"
)


def missing_classes(dataset: SegmentationDataset, pixels: np.ndarray) -> str | None:
    """Return a warning that names the classes without a labelled pixel, or None if every class has one.

    Args:
        dataset: the split.
        pixels: int (C,), number of labelled pixels of each class.

    Raises:
        DatasetError: all pixels are void.
    """
    names = dataset.label_set.names
    missing = [name for name, count in zip(names, pixels, strict=True) if not count]
    where = f"{dataset.name} {dataset.split}"
    if len(missing) == len(names):
        raise DatasetError(f"{where} has no labelled pixel: all are void. {_VOID_HINT}")
    if not missing:
        return None
    hint = f". {_VOID_HINT}" if len(missing) == len(names) - 1 else ""
    return f"{where} has no labelled pixel of: {', '.join(missing)}{hint}"


def check_trainable(dataset: SegmentationDataset, pixels: np.ndarray) -> str | None:
    """Return ``missing_classes``; also raise DatasetError if only one class is labelled."""
    warning = missing_classes(dataset, pixels)
    if np.count_nonzero(pixels) == 1:
        raise DatasetError(f"expected labels of at least two classes to train on: {warning}")
    return warning
