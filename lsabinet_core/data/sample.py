"""One labelled image, and what every data set here offers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lsabinet_core.labels import LabelSet


@dataclass(frozen=True)
class Sample:
    """One image with its label.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        label: uint8 (H, W), class ids, 255 = void; None where the split has no labels.
        name: identifies the image within its split (the file's stem).
    """

    image: np.ndarray
    label: np.ndarray | None
    name: str


class SegmentationDataset(Protocol):
    """A split of a data set, random access.

    Attributes:
        name: the data set's.
        licence: what binds whoever uses the images, or weights trained on them.
        split: which part of it.
        label_set: its classes.
    """

    name: str
    licence: str
    split: str
    label_set: LabelSet

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...
