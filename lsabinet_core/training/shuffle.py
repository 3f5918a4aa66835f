"""Batch composition and all random draws of a training, as functions of the seed, the epoch and the batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from lsabinet_core.errors import TrainingError

# The first number of each stream's seed keeps the streams apart: NumPy ignores trailing zeros of a seed sequence, so
# without it [seed, epoch] and [seed, epoch, 0] would be the same stream.
_ORDER, _VIEW, _STEP = 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """One batch of a run.

    Attributes:
        epoch: index of the epoch, from 0.
        number: index of the batch within its epoch, from 0.
        indices: the samples of the whole batch, over all processes.
        first: position of this process's first sample in ``indices``.
        count: number of samples of this process.
    """

    epoch: int
    number: int
    indices: tuple[int, ...]
    first: int
    count: int

    @property
    def share(self) -> tuple[int, ...]:
        """The samples of this process."""
        return self.indices[self.first : self.first + self.count]


class EpochShuffle(Sampler[Batch]):
    """Batches from iteration ``start`` to the end of the run, with a new order in every epoch.

    The last, smaller batch of an epoch is dropped, because its batch statistics would be noisier; a data set smaller
    than a batch forms one batch.

    Args:
        length: number of samples in the data set.
        batch_size: samples per batch, over all processes.
        epochs: number of epochs of the run.
        seed: seed of the order.
        start: number of iterations already done.
        rank: this process, 0..world_size - 1; it gets its contiguous share of each batch.
        world_size: number of processes.

    Raises:
        TrainingError: a batch cannot be divided equally among the processes.
    """

    def __init__(
        self, length: int, batch_size: int, epochs: int, seed: int, start: int, rank: int = 0, world_size: int = 1
    ):
        if batch_size % world_size:
            raise TrainingError(
                f"a batch of {batch_size} cannot be divided equally among {world_size} processes: "
                f"choose a batch_size that is a multiple of {world_size}"
            )
        if length < world_size:
            raise TrainingError(f"expected at least one image for each of {world_size} processes, got {length}")
        self.length = length
        self.batch_size = min(batch_size, length - length % world_size)
        self.epoch_iterations = length // self.batch_size
        self.total = epochs * self.epoch_iterations
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[Batch]:
        count = self.batch_size // self.world_size
        iteration = self.start
        while iteration < self.total:
            epoch, first = divmod(iteration, self.epoch_iterations)
            order = np.random.default_rng([_ORDER, self.seed, epoch]).permutation(self.length).tolist()
            for number in range(first, self.epoch_iterations):
                chosen = tuple(order[number * self.batch_size : (number + 1) * self.batch_size])
                yield Batch(epoch, number, chosen, self.rank * count, count)
            iteration = (epoch + 1) * self.epoch_iterations


def view_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Random generator for the view of a sample in an epoch, independent of its batch and process."""
    return np.random.default_rng([_VIEW, seed, epoch, index])


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """Seed of PyTorch's generator, 0..2**63 - 1, for one step of one process."""
    return int(np.random.SeedSequence([_STEP, seed, iteration, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
