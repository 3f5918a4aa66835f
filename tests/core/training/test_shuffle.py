"""Every random draw of the batches has a stream of its own."""

import numpy as np

from lsabinet_core.training import shuffle
from lsabinet_core.training.shuffle import EpochShuffle, step_seed, view_rng


def test_all_random_streams_are_distinct(monkeypatch):
    """The streams of the order and of the views differ, even if their numbers are equal or zero."""
    made = {}

    def watch(seed):
        generator = default_rng(seed)
        made.setdefault(tuple(generator.bit_generator.seed_seq.generate_state(8).tolist()), set()).add(tuple(seed))
        return generator

    default_rng = np.random.default_rng
    monkeypatch.setattr(shuffle.np.random, "default_rng", watch)
    asked = 0
    for seed in range(4):
        list(EpochShuffle(6, 2, epochs=4, seed=seed, start=0))
        asked += 4
        for epoch in range(4):
            for number in range(5):
                view_rng(seed, epoch, number)
                asked += 1
    assert len(made) == asked
    assert all(len(seeds) == 1 for seeds in made.values())


def test_order_and_first_view_use_distinct_streams():
    (first, *_) = EpochShuffle(50, 50, epochs=1, seed=7, start=0)
    assert list(first.indices) != view_rng(7, 0, 0).permutation(50).tolist()


def test_random_streams_are_reproducible():
    assert view_rng(3, 1, 4).integers(1 << 62) == view_rng(3, 1, 4).integers(1 << 62)
    assert [batch.indices for batch in EpochShuffle(9, 2, 2, 5, 0)] == [
        batch.indices for batch in EpochShuffle(9, 2, 2, 5, 0)
    ]


def test_step_seeds_are_distinct():
    numbers = [(seed, iteration, rank) for seed in (0, 1, 2**40) for iteration in (0, 1, 1_000_003) for rank in (0, 1)]
    seeds = [step_seed(*number) for number in numbers]
    assert seeds == [step_seed(*number) for number in numbers]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # The run's seed itself initialises the network.
    assert not set(seeds) & {0, 1, 2**40}
