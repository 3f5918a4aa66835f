"""Batches of augmented and mixed images, the same for the same seed wherever a run is cut and resumed.

Two pipelines make the same batches, but for rounding: worker processes augment on the CPU whatever the data set's size,
or the device holds the whole data set and augments there (``resident``).
"""

import os
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from lsabinet_core.cores import usable_cores
from lsabinet_core.data.augment import augment, zoom_to
from lsabinet_core.data.batch_mixing import mix_batch

from .recipe import Recipe
from .resident import ResidentBatches, resident_problem
from .samples import SampleCache, load
from .shuffle import Batch, EpochShuffle, view_rng, with_donors

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

MOST_WORKERS = 16


def choose_workers(workers: int | None, device: torch.device) -> int:
    """How many processes prepare batches: ``workers``, or as the device leaves them cores where that is None.

    A CPU trains with its cores and has one. Beside a GPU there is one for each core but one, at most MOST_WORKERS; the
    GPUs of a machine share them.
    """
    if workers is not None:
        return workers
    if device.type != "cuda":
        return 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(usable_cores() // here - 1, MOST_WORKERS))


def choose_pipeline(samples: SampleCache, recipe: Recipe, device: torch.device) -> Literal["workers", "resident"]:
    """``recipe.input_pipeline``, where ``auto`` is ``resident`` on a CUDA device that the data set fits on.

    Raises:
        TrainingError: ``resident`` is demanded but the data set does not fit.
        DatasetError: ``resident`` is demanded for images of several sizes.
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
) -> Iterator[Tensors]:
    """The batches of a run, by the pipeline of ``choose_pipeline``.

    Args:
        samples: what to learn from.
        recipe: how to augment.
        fill: colour (BGR, 0..255) of padding.
        shuffle: order of the samples, and the share of this process.
        workers: processes that prepare batches ahead (0: this one; None: ``choose_workers``); the resident pipeline
            needs none.
        device: where the network is.

    Returns:
        images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W) for each iteration; from the resident pipeline they
        are on ``device``, from workers on the CPU (pinned for CUDA).

    Raises:
        TrainingError: ``resident`` is demanded but the data set does not fit, or (while iterating) a worker died.
        DatasetError: ``resident`` is demanded for images of several sizes, or a file cannot be read any more.
    """
    if choose_pipeline(samples, recipe, device) == "resident":
        return iter(
            ResidentBatches(samples, recipe.augmentation, fill, recipe.seed, shuffle, device, recipe.input_size)
        )
    views = AugmentedViews(samples, recipe, fill)
    workers = choose_workers(workers, device)
    return load(views, shuffle, workers, pin_memory=device.type == "cuda", prefetch_factor=4 if workers else None)


class AugmentedViews(Dataset):
    """Indexed by ``Batch``: the views of the process's share, mixed, which depend on nothing else but the seed."""

    def __init__(self, samples: SampleCache, recipe: Recipe, fill: tuple[int, int, int]):
        self.samples = samples
        self.augmentation = recipe.augmentation
        self.input_size = recipe.input_size
        self.seed = recipe.seed
        self.fill = fill

    def __getitem__(self, batch: Batch) -> Tensors:
        indices, mixes = with_donors(batch, self.augmentation, self.seed)
        images, labels = zip(*(self._view(batch.epoch, index) for index in indices))
        return mix_batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)), mixes)

    def _view(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        sample, rng = self.samples.sample(index), view_rng(self.seed, epoch, index)
        zoom = zoom_to(sample.label.shape, self.input_size)
        return augment(sample, self.augmentation, self.fill, rng, self.samples.pixels, zoom)
