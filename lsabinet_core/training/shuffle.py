"""Which samples make which batch, and everything random about it: functions of the seed, the epoch and the batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from lsabinet_core.data.augment import Augmentation
from lsabinet_core.data.batch_mixing import Mix, draw_mixes
from lsabinet_core.errors import TrainingError


@dataclass(frozen=True)
class Batch:
    """One batch of a run.

    Attributes:
        epoch: from 0.
        number: of the batch in its epoch, from 0.
        indices: the samples of the whole batch, that of all processes together.
        first: position in ``indices`` of the first sample of this process.
        count: samples of this process.
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
    """Batches from iteration ``start`` to the end of the run, each epoch in an order of its own.

    The last, smaller batch of an epoch is left out, as its batch statistics would be noisier; where the whole data set
    is smaller than a batch, it is the batch.

    Args:
        length: samples in the data set.
        batch_size: of all processes together.
        epochs: of the run.
        seed: of the order.
        start: iterations that are done.
        rank: of this process, 0..world_size - 1; it gets its contiguous share of each batch.
        world_size: number of processes.

    Raises:
        TrainingError: the processes cannot share a batch equally.
    """

    def __init__(
        self, length: int, batch_size: int, epochs: int, seed: int, start: int, rank: int = 0, world_size: int = 1
    ):
        if batch_size % world_size:
            raise TrainingError(
                f"a batch of {batch_size} cannot be shared equally by {world_size} processes: "
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
            order = np.random.default_rng([self.seed, epoch]).permutation(self.length).tolist()
            for number in range(first, self.epoch_iterations):
                chosen = tuple(order[number * self.batch_size : (number + 1) * self.batch_size])
                yield Batch(epoch, number, chosen, self.rank * count, count)
            iteration = (epoch + 1) * self.epoch_iterations


def view_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Draws the view of a sample in an epoch, whichever batch and process it is in."""
    return np.random.default_rng([seed, epoch, index])


def with_donors(batch: Batch, settings: Augmentation, seed: int) -> tuple[list[int], list[Mix | None]]:
    """The samples that a process needs for its share of a batch, and how they are mixed.

    Returns:
        indices of its own samples, followed by those of other processes that are pasted into them; and for each of its
        own what is pasted, donors as positions in that list.
    """
    # Other than zero at the end, or it would be the stream of ``view_rng``.
    mixes = draw_mixes(settings, len(batch.indices), np.random.default_rng([seed, batch.epoch, batch.number, 1]))
    own = range(batch.first, batch.first + batch.count)
    positions = {position: place for place, position in enumerate(own)}
    chosen: list[Mix | None] = []
    for mix in mixes[own.start : own.stop]:
        if mix is not None:
            mix = Mix(positions.setdefault(mix.donor, len(positions)), mix.rectangle, mix.order)
        chosen.append(mix)
    return [batch.indices[position] for position in positions], chosen
