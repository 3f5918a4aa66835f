"""Where the frames of a new bag come from: a data set, a folder of images, or a video. All give Samples."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import BagError
from lsabinet_core.inference.sources import open_source
from lsabinet_core.labels import VOID


class DatasetSource:
    """The samples of a ``SegmentationDataset`` in its order."""

    rate: Fraction | None = None

    def __init__(self, dataset):
        self._dataset = dataset
        self.count = len(dataset)

    def __iter__(self) -> Iterator[Sample]:
        return (self._dataset.sample(index) for index in range(self.count))


class FileSource:
    """A folder of images by name, or a video; with the labels of the same stem from another folder.

    Args:
        path: folder of images, one image, or a video file.
        labels: folder of single-channel 8-bit PNGs of class ids; an image without one there goes unlabelled.
        void: a label id that means unlabelled and becomes 255 (11 in CamVid's annot folders); None changes nothing.

    Attributes:
        count: number of frames; None where a video does not say.
        rate: frames a second of a video; None for images, and where a video does not say.

    Raises:
        FrameError: no such path, no image in the folder, or a file that is no video.
        BagError: labels that belong to no image. While iterating: an image or label that cannot be read.
    """

    def __init__(self, path: str | os.PathLike, labels: Path | None = None, void: int | None = None):
        if str(path).isdecimal() and not Path(path).exists():
            raise BagError(f"no folder or video at {path} (a camera cannot be made into a bag)")
        self._path, self._void = path, void
        with contextlib.closing(open_source(path)) as source:
            self.count = source.count
            # 29.97 Hz is stored as 30000/1001; the float is only near it.
            self.rate = Fraction(source.fps).limit_denominator(1001) if source.fps else None
            if labels is not None and source.kind != "images":
                raise BagError(f"labels go with a folder of images, but {path} is a video")
        self._labels = {} if labels is None else {file.stem: file for file in _list_labels(Path(labels))}
        self._labels_folder = labels

    def __iter__(self) -> Iterator[Sample]:
        labelled = 0
        with contextlib.closing(open_source(self._path)) as source:
            for name, image in source:
                _check_readable(source)
                label = None
                if name in self._labels:
                    label = self._read_label(self._labels[name], image.shape[:2])
                    labelled += 1
                yield Sample(image, label, name)
            _check_readable(source)
        if self._labels and not labelled:
            raise BagError(f"no label in {self._labels_folder} has the name of an image in {self._path}")

    def _read_label(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if label is None:
            raise BagError(f"cannot read {path} as an image")
        if label.ndim != 2 or label.dtype != np.uint8 or label.shape != size:
            raise BagError(
                f"expected a single-channel 8-bit label of {size[0]}x{size[1]} in {path}, "
                f"got {label.dtype} {'x'.join(map(str, label.shape))}"
            )
        return label if self._void is None else np.where(label == self._void, np.uint8(VOID), label)


def _check_readable(source) -> None:
    # A frame that is left out would shift the stamps of all that follow.
    if source.unreadable:
        raise BagError(f"cannot read {source.unreadable[0]} as an image")


def _list_labels(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BagError(f"no folder of labels at {folder}")
    # Class ids do not survive a lossy format.
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    if not paths:
        raise BagError(f"no label (*.png) in {folder}")
    return paths
