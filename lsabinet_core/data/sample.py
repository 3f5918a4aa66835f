"""The sample type and the data set protocol."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import LabelSet


@dataclass(frozen=True)
class Sample:
    """One image with its label.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        label: uint8 (H, W), class ids, 255 = void; None if the split has no labels.
        name: identifier of the image within its split (the file's stem).
    """

    image: np.ndarray
    label: np.ndarray | None
    name: str

    @property
    def required_label(self) -> np.ndarray:
        """The label. Raises DatasetError: the split has none."""
        if self.label is None:
            raise DatasetError(f"{self.name}: expected an image with a label, got one without")
        return self.label


def check_sample(sample: Sample) -> None:
    """Raise DatasetError unless image and label (if present) have the dtypes and shapes documented in ``Sample``."""
    for what, array, shape in (("image", sample.image, "(H, W, 3)"), ("label", sample.label, "(H, W)")):
        if array is None and what == "label":
            continue
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
            got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise DatasetError(f"{sample.name}: expected the {what} to be a numpy array of uint8, got {got}")
        if array.ndim != len(shape.split(",")) or array.size == 0 or array.shape[2:] not in ((), (3,)):
            raise DatasetError(f"{sample.name}: expected the {what} to have the shape {shape}, got {array.shape}")
    if sample.label is not None and sample.label.shape != sample.image.shape[:2]:
        raise DatasetError(
            f"{sample.name}: label of {sample.label.shape} for an image of {sample.image.shape[:2]}: expected the same "
            "height and width"
        )


class SegmentationDataset(Protocol):
    """A split of a data set with random access.

    Attributes:
        name: name of the data set.
        licence: terms for the use of the images and of weights trained on them.
        split: name of the split.
        label_set: the classes.
    """

    name: str
    licence: str
    split: str
    label_set: LabelSet

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...
