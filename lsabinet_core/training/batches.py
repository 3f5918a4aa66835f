"""Batches of augmented images: the same for the same seed, even if a run is interrupted and resumed.

Two pipelines make the same batches, up to rounding: worker processes augment on the CPU, for data sets of any size;
or the device holds the whole data set and augments there (``resident``).
"""

import os
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from lsabinet_core.cores import usable_cores
from lsabinet_core.data.augment import augment, zoom_to

from .recipe import Recipe
from .resident import ResidentBatches, resident_problem
from .samples import SampleCache
from .shuffle import Batch, EpochShuffle, view_rng
from .workers import fit_shared_memory, load

__all__ = [
    "AugmentedViews",
    "Batch",
    "EpochShuffle",
    "SampleCache",
    "choose_pipeline",
    "choose_workers",
    "open_batches",
]

Tensors = tuple[torch.Tensor, torch.Tensor]

MAX_WORKERS = 16


def choose_workers(workers: int | None, device: torch.device) -> int:
    """Number of processes that prepare batches: ``workers``, or a default for the device if it is None.

    ``workers`` is limited to the number of cores or MAX_WORKERS, whichever is larger.
    The default is one on a CPU, whose cores do the training. With a GPU it is one per core except one, at most
    MAX_WORKERS; the GPUs of a machine share them.
    """
    if workers is not None:
        return min(workers, max(usable_cores(), MAX_WORKERS))
    if device.type != "cuda":
        return 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(usable_cores() // here - 1, MAX_WORKERS))


def choose_pipeline(samples: SampleCache, recipe: Recipe, device: torch.device) -> Literal["workers", "resident"]:
    """``recipe.input_pipeline``; ``auto`` selects ``resident`` on a CUDA device with room for the data set.

    Raises:
        TrainingError: ``resident`` is requested but the data set does not fit.
        DatasetError: ``resident`` is requested but the images differ in size.
    """
    if recipe.input_pipeline == "workers" or (recipe.input_pipeline == "auto" and device.type != "cuda"):
        return "workers"
    problem = resident_problem(samples, device)
    if recipe.input_pipeline == "resident" and problem is not None:
        raise problem
    return "workers" if problem is not None else "resident"


def open_batches(
    samples: SampleCache,
    recipe: Recipe,
    fill: tuple[int, int, int],
    shuffle: EpochShuffle,
    *,
    workers: int | None,
    device: torch.device,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[Tensors]:
    """The batches of a run, from the pipeline that ``choose_pipeline`` selects.

    Args:
        samples: training samples.
        recipe: augmentation settings.
        fill: colour (BGR, 0..255) of padding.
        shuffle: order of the samples, and the share of this process in each batch.
        workers: processes that prepare batches ahead (0: this one; None: ``choose_workers``); the resident pipeline
            needs none.
        device: the device of the network.
        warn: called with a message if shared memory has no room for the requested workers or batches.

    Returns:
        images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W) for each iteration; from the resident pipeline they
        are on ``device``, from workers on the CPU (pinned for CUDA).

    Raises:
        TrainingError: ``resident`` is requested but the data set does not fit, or (while iterating) a worker died or
            ran out of shared memory.
        DatasetError: ``resident`` is requested but the images differ in size, or a file can no longer be read.
    """
    if choose_pipeline(samples, recipe, device) == "resident":
        return iter(
            ResidentBatches(samples, recipe.augmentation, fill, recipe.seed, shuffle, device, recipe.input_size)
        )
    views = AugmentedViews(samples, recipe, fill)
    workers, ahead = fit_shared_memory(choose_workers(workers, device), views.batch_bytes(shuffle), warn)
    return load(views, shuffle, workers, ahead, pin_memory=device.type == "cuda")


class AugmentedViews(Dataset):
    """Indexed by ``Batch``: the augmented views of this process's share, which depend on the seed only."""

    def __init__(self, samples: SampleCache, recipe: Recipe, fill: tuple[int, int, int]):
        self.samples = samples
        self.augmentation = recipe.augmentation
        self.input_size = recipe.input_size
        self.seed = recipe.seed
        self.fill = fill

    def __getitem__(self, batch: Batch) -> Tensors:
        images, labels = zip(*(self._view(batch.epoch, index) for index in batch.share), strict=True)
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))

    def batch_bytes(self, shuffle: EpochShuffle) -> int:
        """Size in bytes of the images and labels that this process prepares per batch."""
        height, width = self.augmentation.crop_size
        return shuffle.batch_size // shuffle.world_size * height * width * (3 + 1)

    def _view(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        sample, rng = self.samples.sample(index), view_rng(self.seed, epoch, index)
        zoom = zoom_to(sample.required_label.shape, self.input_size)
        return augment(sample, self.augmentation, self.fill, rng, zoom)
