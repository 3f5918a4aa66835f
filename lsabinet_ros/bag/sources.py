"""Sources of Samples for a new bag: a data set, a folder of images, or a video."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from lsabinet_core.data.files import read_stored_label
from lsabinet_core.data.sample import Sample, SegmentationDataset
from lsabinet_core.errors import BagError, DatasetError
from lsabinet_core.inference.sources import FrameSource, VideoSource, open_source
from lsabinet_core.labels import VOID


@dataclass(frozen=True)
class TimedSample(Sample):
    """A frame of a video.

    Attributes:
        time_s: time since the first frame, according to the container.
    """

    time_s: Fraction


class DatasetSource:
    """The samples of a ``SegmentationDataset`` in the order of the data set."""

    rate: Fraction | None = None
    has_times = False
    lost: str | None = None

    def __init__(self, dataset: SegmentationDataset):
        self._dataset = dataset
        self.count = len(dataset)

    def __iter__(self) -> Iterator[Sample]:
        return (self._dataset.sample(index) for index in range(self.count))


class FileSource:
    """A folder of images in the order of their names, or a video; optionally with labels from another folder.

    Args:
        path: folder of images, one image, or a video file.
        labels: folder of single-channel PNGs of class ids, grey or palette; images without a PNG stay unlabelled.
        void: a label id that means unlabelled and becomes 255 (11 in CamVid's annot folders); None changes nothing.

    Attributes:
        count: number of frames; None if it is unknown for a video.
        rate: mean frame rate of a video in Hz; None for images or if it is unknown.
        has_times: whether the samples are ``TimedSample``.
        lost: describes what could not be decoded of a video, or None; set when the iteration ends.

    Raises:
        FrameError: no such path, no image in the folder, or a file that is not a video.
        BagError: labels without an image. While iterating: an image or label that cannot be read.
    """

    def __init__(self, path: str | os.PathLike, labels: Path | None = None, void: int | None = None):
        if str(path).isdecimal() and not Path(path).exists():
            raise BagError(f"no folder or video at {path} (a bag cannot be made from a camera)")
        self._path, self._void = path, void
        with contextlib.closing(open_source(path)) as source:
            self.count = source.count
            # A rate of 30000/1001 is only approximated by the float 29.97.
            self.rate = Fraction(source.fps).limit_denominator(1001) if source.fps else None
            self.has_times = source.kind == "video" and not isinstance(source, VideoSource)
            self.lost: str | None = None
            if labels is not None and source.kind != "images":
                raise BagError(f"labels need a folder of images, but {path} is a video")
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
                if self.has_times and (time_s := source.time_s) is not None:
                    yield TimedSample(image, label, name, time_s)
                else:
                    yield Sample(image, label, name)
            _check_readable(source)
            self.lost = source.lost
        if self._labels and not labelled:
            raise BagError(f"no label in {self._labels_folder} has the same name as an image in {self._path}")

    def _read_label(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        try:
            label = read_stored_label(path)
        except DatasetError as error:
            raise BagError(str(error)) from None
        if label.shape != size:
            raise BagError(
                f"expected a label of {size[0]}x{size[1]}, like its image, in {path}, "
                f"got {label.shape[0]}x{label.shape[1]}"
            )
        return label if self._void is None else np.where(label == self._void, np.uint8(VOID), label)


def _check_readable(source: FrameSource) -> None:
    # Omitting a frame would shift the stamps of all later ones.
    if source.unreadable:
        raise BagError(next(iter(source.unreadable.values())))


def _list_labels(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BagError(f"no folder of labels at {folder}")
    # A lossy format would change class ids.
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    if not paths:
        raise BagError(f"no labels (*.png) in {folder}")
    return paths
