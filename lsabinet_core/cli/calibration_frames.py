"""Parts of a data set for int8: images to calibrate on, samples to measure on."""

from collections.abc import Iterator, Sequence

import numpy as np

from lsabinet_core.data import Sample, SegmentationDataset
from lsabinet_core.inference.preprocess import stack_frames


class ResizedImages:
    """Images of some samples at a network's size, uint8 (H, W, 3), BGR; read again each time they are gone through."""

    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int], size: tuple[int, int]):
        self._dataset = dataset
        self._indices = indices
        self._size = size

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in self._indices:
            yield stack_frames([self._dataset.sample(index).image], self._size)[0]


class SomeSamples:
    """A data set of some samples of another."""

    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int]):
        self._dataset = dataset
        self._indices = indices
        self.name = dataset.name
        self.split = dataset.split
        self.label_set = dataset.label_set

    def __len__(self) -> int:
        return len(self._indices)

    def sample(self, index: int) -> Sample:
        return self._dataset.sample(self._indices[index])
