"""The samples of a data set, read by processes and kept in memory where they fit."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lsabinet_core.cores import usable_cores
from lsabinet_core.data.sample import Sample, SegmentationDataset
from lsabinet_core.errors import DatasetError, TrainingError

CACHE_BYTES = 2 << 30
"""Data sets of up to this size, decoded, are held in memory."""

PARALLEL_SAMPLES = 100
"""From so many samples on, starting processes to read them is worth its time."""


class SampleCache:
    """The samples of a data set, decoded once and kept where they fit into CACHE_BYTES, else read when asked for.

    Attributes:
        dataset: where they come from.
        pixels: int64 (C,), labelled pixels of each class.
        bytes: size of all images and labels, decoded.
        sizes: every (height, width) that an image has, with the name of the first such sample.

    Raises:
        DatasetError: a sample that cannot be read or has no label.
    """

    def __init__(self, dataset: SegmentationDataset, progress=None):
        self.dataset = dataset
        self.pixels = np.zeros(len(dataset.label_set), np.int64)
        self.bytes = 0
        self.sizes: dict[tuple[int, int], str] = {}
        self._kept: list[Sample] = []
        total = len(dataset)
        for index, sample in enumerate(_read_all(dataset)):
            if sample.label is None:
                raise DatasetError(f"{sample.name}: no label; the {dataset.split} split cannot be trained on")
            self.pixels += np.bincount(sample.label.ravel(), minlength=256)[: len(self.pixels)]
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
    """A data set whose samples stay in memory once they are read, as far as they fit into CACHE_BYTES."""

    def __init__(self, dataset: SegmentationDataset):
        self.name, self.split, self.label_set = dataset.name, dataset.split, dataset.label_set
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


class _Samples(Dataset):
    def __init__(self, dataset: SegmentationDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset.sample(index)


def _read_all(dataset: SegmentationDataset) -> Iterator[Sample]:
    """All samples in order, read or rendered by a process on each core where there are many."""
    workers = min(usable_cores(), 8) if len(dataset) >= PARALLEL_SAMPLES else 0
    return load(_Samples(dataset), None, workers)


def load(items: Dataset, sampler, workers: int, **options) -> Iterator:
    """Items as they are, in the order of ``sampler``, prepared by ``workers`` processes (0: in this one).

    Raises:
        DatasetError: as the items raise it.
        TrainingError: a process died.
    """
    loader = DataLoader(
        items,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_single_thread,
        # Its own, so that the network's random draws do not depend on how many loaders were opened before.
        generator=torch.Generator(),
        **options,
    )
    with _plain_errors(), _quiet_children():
        iterator = iter(loader)
    while True:
        with _plain_errors():
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def _unchanged(item):
    return item


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """A worker's DatasetError arrives with the worker's traceback as its message: only its last line is ours."""
    try:
        yield
    except DatasetError as error:
        lines = str(error).strip().splitlines()
        raise (error if len(lines) == 1 else DatasetError(lines[-1].partition(": ")[2])) from None
    except RuntimeError as error:
        message = str(error)
        if not message.startswith(("DataLoader worker (pid", "Pin memory thread")):
            raise
        raise TrainingError(
            f"a process that prepares batches died ({' '.join(message.split())}): was it killed, or out of memory? "
            "Go on with --resume and fewer --workers"
        ) from None


@contextlib.contextmanager
def _quiet_children() -> Iterator[None]:
    """Undo PyTorch's handler of SIGCHLD.

    It raises wherever the main thread happens to be when a worker dies, in the middle of a step or of writing a
    checkpoint. Without it, the death is noticed when the next batch is asked for, within five seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler if handler is not None else signal.SIG_DFL)


def _single_thread(_worker: int) -> None:
    # OpenCV's own threads would take the cores from the training.
    import cv2

    cv2.setNumThreads(0)
