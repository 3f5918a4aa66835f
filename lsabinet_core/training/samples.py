"""The samples of a data set, read by several threads and cached in memory if they fit."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from lsabinet_core.cores import usable_cores
from lsabinet_core.data.sample import Sample, SegmentationDataset, check_sample
from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import VOID

CACHE_BYTES = 2 << 30
"""Data sets of up to this decoded size are held in memory."""

MAX_READERS = 8
READ_AHEAD = 2
"""Number of samples that each thread reads in advance."""


class SampleCache:
    """The samples of a data set, decoded once and cached if they fit into CACHE_BYTES, otherwise read on every access.

    Attributes:
        dataset: the data set.
        pixels: int64 (C,), labelled pixels of each class.
        bytes: decoded size of all images and labels.
        sizes: every (height, width) that occurs, with the name of the first sample of that size.

    Raises:
        DatasetError: a sample cannot be read, has no label, or does not conform to ``Sample``; the message names it.
    """

    def __init__(self, dataset: SegmentationDataset, progress: Callable[[int, int], None] | None = None):
        self.dataset = dataset
        classes = len(dataset.label_set)
        self.pixels = np.zeros(classes, np.int64)
        self.bytes = 0
        self.sizes: dict[tuple[int, int], str] = {}
        self._kept: list[Sample] = []
        total = len(dataset)
        for index, sample in enumerate(_read_all(dataset)):
            if sample.label is None:
                raise DatasetError(f"{sample.name}: no label; the {dataset.split} split cannot be trained on")
            check_sample(sample)
            counts = np.bincount(sample.label.ravel(), minlength=256)
            if counts[classes:VOID].any():
                wrong = classes + int(counts[classes:VOID].argmax())
                expected = f"label ids 0..{classes - 1} or {VOID} (void) in {dataset.name}"
                raise DatasetError(f"{sample.name}: expected {expected}, got {wrong}")
            self.pixels += counts[:classes]
            self.bytes += sample.image.nbytes + sample.label.nbytes
            self.sizes.setdefault(sample.label.shape, sample.name)
            if self.bytes <= CACHE_BYTES and len(self._kept) == index:
                self._kept.append(sample)
            if progress:
                progress(index + 1, total)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        return self._kept[index] if index < len(self._kept) else self.dataset.sample(index)


class KeptSamples:
    """A data set whose samples stay in memory after the first read, up to CACHE_BYTES in total."""

    def __init__(self, dataset: SegmentationDataset):
        self.name, self.licence = dataset.name, dataset.licence
        self.split, self.label_set = dataset.split, dataset.label_set
        self._dataset = dataset
        self._kept: dict[int, Sample] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._dataset)

    def sample(self, index: int) -> Sample:
        if index in self._kept:
            return self._kept[index]
        sample = self._dataset.sample(index)
        self._bytes += sample.image.nbytes + (0 if sample.label is None else sample.label.nbytes)
        if self._bytes <= CACHE_BYTES:
            self._kept[index] = sample
        return sample


def _read_all(dataset: SegmentationDataset) -> Iterator[Sample]:
    """All samples in order, read or rendered by one thread per core, a few of them in advance.

    Threads rather than processes: decoding releases the GIL, and a process that is killed while it sends a sample
    would leave the main process waiting for the rest.
    """
    threads = min(usable_cores(), MAX_READERS)
    with ThreadPoolExecutor(threads, "samples") as pool:
        waiting: deque[Future[Sample]] = deque()
        try:
            for index in range(len(dataset)):
                waiting.append(pool.submit(dataset.sample, index))
                if len(waiting) > READ_AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
