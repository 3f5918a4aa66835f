"""Frames for int8 export, from a data set or from a drive: images for calibration, samples for evaluation."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from lsabinet_core.data import Sample, SegmentationDataset
from lsabinet_core.inference.preprocess import stack_frames
from lsabinet_core.labels import LabelSet


class ResizedImages:
    """The images of some samples, resized to the network's input size, uint8 (H, W, 3), BGR; read on each iteration."""

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
    """A subset of a data set."""

    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int]):
        self._dataset = dataset
        self._indices = indices
        self.name = dataset.name
        self.split = dataset.split
        self.licence = dataset.licence
        self.label_set = dataset.label_set

    def __len__(self) -> int:
        return len(self._indices)

    def sample(self, index: int) -> Sample:
        return self._dataset.sample(self._indices[index])


class SamplesFromMasks:
    """Images whose labels are the masks of a reference; its classes are ``label_set``.

    Args:
        name: where the images are from.
        images: uint8 (N, H, W, 3), BGR.
        masks: class ids, uint8 (N, H, W).
    """

    split = licence = ""

    def __init__(self, name: str, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], label_set: LabelSet):
        self.name = name
        self.label_set = label_set
        self._images = images
        self._masks = masks

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> Sample:
        return Sample(self._images[index], self._masks[index], f"{index:06d}")


def spread_frames(
    frames: Iterable[tuple[str, np.ndarray]],
    size: tuple[int, int],
    most: int,
    progress: Callable[[int], None] = lambda read: None,
) -> tuple[np.ndarray, int]:
    """Return at most ``most`` frames, and at least half as many if there are, evenly spread over all of them.

    Args:
        frames: names and BGR uint8 (h, w, 3); how many is not known, and they are read once.
        size: (H, W) to which they are resized.
        most: an even number.
        progress: called with the number of frames read so far.

    Returns:
        uint8 (N, H, W, 3) in a temporary file, which is deleted with the array, and the number of frames read.
    """
    with tempfile.TemporaryFile() as file:
        kept = np.memmap(file, dtype=np.uint8, mode="w+", shape=(most, *size, 3))
    count, step, read = 0, 1, 0
    for index, (_, frame) in enumerate(frames):
        read += 1
        progress(read)
        if index % step:
            continue
        if count == most:
            # Every other one stays, so that the rest of the drive finds room.
            count, step = most // 2, 2 * step
            for place in range(count):
                kept[place] = kept[2 * place]
        kept[count] = stack_frames([frame], size)[0]
        count += 1
    return kept[:count], read
