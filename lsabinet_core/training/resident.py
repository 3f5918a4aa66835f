"""Input pipeline for data sets that fit into device memory: stored there as uint8 and augmented there."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from lsabinet_core.data.augment import Augmentation, View, draw_view, zoom_to
from lsabinet_core.data.device_augment import DeviceAugmentation, to_device
from lsabinet_core.errors import DatasetError, LsabinetError, TrainingError

from .samples import SampleCache
from .shuffle import Batch, EpochShuffle, view_rng

MEMORY_SHARE = 0.25
"""Maximum share of the device's free memory for the data set; the network needs the rest."""

DRAWN_AHEAD = 2
"""Number of batches whose views are drawn while the device computes."""


def free_memory(device: torch.device) -> int:
    """Free memory of a CUDA device in bytes; on the CPU, the total memory of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def resident_problem(samples: SampleCache, device: torch.device) -> LsabinetError | None:
    """The reason why the data set cannot be held on the device, or None."""
    if len(samples.sizes) > 1:
        (first, first_name), (other, other_name) = list(samples.sizes.items())[:2]
        return DatasetError(
            f"expected images of one size for input_pipeline resident, got {first[0]}x{first[1]} ({first_name}) and "
            f"{other[0]}x{other[1]} ({other_name}): set input_pipeline to workers"
        )
    free = free_memory(device)
    if samples.bytes > MEMORY_SHARE * free:
        return TrainingError(
            f"expected a data set of at most {MEMORY_SHARE * free / 1e9:.2f} GB for input_pipeline resident, a quarter "
            f"of the memory of {device}, got {samples.bytes / 1e9:.2f} GB: set input_pipeline to workers"
        )
    return None


class ResidentBatches:
    """Iterates over batches that are augmented on the device.

    Args:
        samples: training samples of equal size; copied to the device.
        augmentation: distribution of the random views.
        fill: colour (BGR, 0..255) of padding.
        seed: seed of the run.
        shuffle: the sequence of batches.
        device: the device that holds the samples.
        input_size: (height, width) at which images of its aspect ratio are segmented.
    """

    def __init__(
        self,
        samples: SampleCache,
        augmentation: Augmentation,
        fill: tuple[int, int, int],
        seed: int,
        shuffle: EpochShuffle,
        device: torch.device,
        input_size: tuple[int, int],
    ):
        (self._size,) = samples.sizes
        self._zoom = zoom_to(self._size, input_size)
        self._settings = augmentation
        self._seed = seed
        self._shuffle = shuffle
        self._augment = DeviceAugmentation(augmentation, self._size, fill, device, self._zoom)
        self._images = torch.empty((len(samples), *self._size, 3), dtype=torch.uint8, device=device)
        self._labels = torch.empty((len(samples), *self._size), dtype=torch.uint8, device=device)
        for index in range(len(samples)):
            sample = samples.sample(index)
            self._images[index] = torch.from_numpy(np.ascontiguousarray(sample.image))
            self._labels[index] = torch.from_numpy(np.ascontiguousarray(sample.label))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        with ThreadPoolExecutor(1, thread_name_prefix="views") as drawer:
            drawn = deque()
            for batch in self._shuffle:
                drawn.append(drawer.submit(self._draw, batch))
                if len(drawn) > DRAWN_AHEAD:
                    yield self._make(*drawn.popleft().result())
            while drawn:
                yield self._make(*drawn.popleft().result())

    def _draw(self, batch: Batch) -> tuple[tuple[int, ...], list[View]]:
        views = [
            draw_view(self._settings, self._size, view_rng(self._seed, batch.epoch, index), self._zoom)
            for index in batch.share
        ]
        return batch.share, views

    def _make(self, indices: tuple[int, ...], views: list[View]) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = to_device(np.array(indices), self._images.device)
        return self._augment(self._images[chosen], self._labels[chosen], views)
