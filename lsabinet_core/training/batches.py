"""Batches of augmented images, the same for the same seed wherever a run is cut and resumed."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lsabinet_core.data.augment import Augmentation, augment
from lsabinet_core.data.sample import Sample, SegmentationDataset
from lsabinet_core.errors import DatasetError

CACHE_BYTES = 2 << 30
"""Data sets of up to this size, decoded, are held in memory."""


PARALLEL_SAMPLES = 100
"""From so many samples on, starting processes to read them is worth its time."""


class SampleCache:
    """The samples of a data set, decoded once and kept where they fit into CACHE_BYTES, else read when asked for.

    Also counts the labelled pixels of each class.
    """

    def __init__(self, dataset: SegmentationDataset, progress=None):
        self.dataset = dataset
        self.pixels = np.zeros(len(dataset.label_set), np.int64)
        self._kept: list[Sample] = []
        total, size = len(dataset), 0
        for index, sample in enumerate(_read_all(dataset)):
            if sample.label is None:
                raise DatasetError(f"{sample.name}: no label; the {dataset.split} split cannot be trained on")
            self.pixels += np.bincount(sample.label.ravel(), minlength=256)[: len(self.pixels)]
            size += sample.image.nbytes + sample.label.nbytes
            if size <= CACHE_BYTES and len(self._kept) == index:
                self._kept.append(sample)
            if progress:
                progress(index + 1, total)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int) -> Sample:
        return self._kept[index] if index < len(self._kept) else self.dataset.sample(index)


class AugmentedViews(Dataset):
    """Indexed by (epoch, index): that sample's view in that epoch, which depends on nothing else but the seed."""

    def __init__(self, samples: SampleCache, augmentation: Augmentation, fill: tuple[int, int, int], seed: int):
        self.samples = samples
        self.augmentation = augmentation
        self.fill = fill
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        return augment(self.samples.sample(index), self.augmentation, self.fill, rng)


class EpochShuffle(Sampler):
    """Batches of (epoch, index) from iteration ``start`` to the end of the run, each epoch in an order of its own.

    The last, smaller batch of an epoch is left out, as its batch statistics would be noisier; where the whole data set
    is smaller than a batch, it is the batch.
    """

    def __init__(self, length: int, batch_size: int, epochs: int, seed: int, start: int):
        self.length = length
        self.batch_size = min(batch_size, length)
        self.epoch_iterations = length // self.batch_size
        self.total = epochs * self.epoch_iterations
        self.seed = seed
        self.start = start

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        iteration = self.start
        while iteration < self.total:
            epoch, first = divmod(iteration, self.epoch_iterations)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            for batch in range(first, self.epoch_iterations):
                chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(epoch, int(index)) for index in chosen]
            iteration = (epoch + 1) * self.epoch_iterations


def collate(views: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W)."""
    images, labels = zip(*views)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def load_batches(
    views: AugmentedViews, shuffle: EpochShuffle, workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches as ``collate`` makes them, prepared ahead by ``workers`` processes (0: in this one)."""
    loader = DataLoader(
        views,
        batch_sampler=shuffle,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_single_thread,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
    with _plain_errors():
        yield from loader


class _Samples(Dataset):
    def __init__(self, dataset: SegmentationDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset.sample(index)


def _read_all(dataset: SegmentationDataset) -> Iterator[Sample]:
    """All samples in order, read or rendered by a process on each core where there are many."""
    workers = min(os.cpu_count() or 1, 8) if len(dataset) >= PARALLEL_SAMPLES else 0
    loader = DataLoader(
        _Samples(dataset), batch_size=None, num_workers=workers, collate_fn=_unchanged, worker_init_fn=_single_thread
    )
    with _plain_errors():
        yield from loader


def _unchanged(sample: Sample) -> Sample:
    return sample


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """A worker's DatasetError arrives with the worker's traceback as its message: only its last line is ours."""
    try:
        yield
    except DatasetError as error:
        lines = str(error).strip().splitlines()
        raise (error if len(lines) == 1 else DatasetError(lines[-1].partition(": ")[2])) from None


def _single_thread(_worker: int) -> None:
    # OpenCV's own threads would take the cores from the training.
    import cv2

    cv2.setNumThreads(0)
