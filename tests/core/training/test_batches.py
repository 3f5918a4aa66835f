"""Batches: every sample once an epoch, the same wherever a run is cut, counted without void."""

import shutil

import numpy as np
import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.data.augment import Augmentation
from lsabinet_core.errors import DatasetError
from lsabinet_core.training import batches
from lsabinet_core.training.batches import AugmentedViews, EpochShuffle, SampleCache, load_batches

SETTINGS = Augmentation(crop_size=(64, 64), scales=(0.75, 1.5), brightness=0.2)


@pytest.fixture(scope="module")
def samples(small_camvid):
    return SampleCache(open_dataset("camvid", small_camvid, "train"))


def load(samples, start, workers=0):
    shuffle = EpochShuffle(len(samples), 3, epochs=3, seed=4, start=start)
    return list(load_batches(AugmentedViews(samples, SETTINGS, (0, 0, 0), 4), shuffle, workers))


def test_every_sample_at_most_once_an_epoch():
    shuffle = EpochShuffle(8, 3, epochs=4, seed=1, start=0)
    keys = [key for batch in shuffle for key in batch]
    assert len(shuffle) == shuffle.total == 8 and shuffle.epoch_iterations == 2
    assert len(set(keys)) == len(keys) == 4 * 6
    assert {epoch for epoch, _ in keys} == {0, 1, 2, 3}
    assert len({tuple(index for epoch, index in keys if epoch == e) for e in range(4)}) == 4


def test_a_data_set_smaller_than_a_batch():
    assert [len(batch) for batch in EpochShuffle(2, 8, epochs=3, seed=1, start=0)] == [2, 2, 2]


@pytest.mark.parametrize("start", [1, 2, 5])
def test_a_resumed_run_sees_the_same_batches(samples, start):
    whole, rest = load(samples, 0), load(samples, start)
    assert len(rest) == len(whole) - start
    for expected, got in zip(whole[start:], rest):
        assert torch.equal(expected[0], got[0]) and torch.equal(expected[1], got[1])


def test_worker_processes_change_nothing(samples):
    for expected, got in zip(load(samples, 0), load(samples, 0, workers=2)):
        assert torch.equal(expected[0], got[0]) and torch.equal(expected[1], got[1])


def test_cache_counts_pixels_and_keeps_what_fits(small_camvid, monkeypatch):
    dataset = open_dataset("camvid", small_camvid, "train")
    kept = SampleCache(dataset)
    assert kept.sample(3) is kept.sample(3)
    labels = np.concatenate([dataset.sample(index).label.ravel() for index in range(len(dataset))])
    assert kept.pixels.tolist() == [int((labels == c).sum()) for c in range(11)]
    monkeypatch.setattr(batches, "CACHE_BYTES", 5 * dataset.sample(0).image.nbytes)
    part = SampleCache(dataset)
    assert part.sample(0) is part.sample(0)
    assert part.sample(7) is not part.sample(7)
    assert np.array_equal(part.sample(7).image, kept.sample(7).image)


def test_processes_read_the_same_samples(small_camvid, monkeypatch):
    dataset = open_dataset("camvid", small_camvid, "train")
    monkeypatch.setattr(batches, "PARALLEL_SAMPLES", 1)
    parallel, plain = SampleCache(dataset), [dataset.sample(index) for index in range(len(dataset))]
    for index, expected in enumerate(plain):
        assert parallel.sample(index).name == expected.name
        assert np.array_equal(parallel.sample(index).image, expected.image)
        assert np.array_equal(parallel.sample(index).label, expected.label)


def test_an_error_in_a_process_is_one_line(small_camvid, tmp_path, monkeypatch):
    shutil.copytree(small_camvid, tmp_path / "camvid")
    (tmp_path / "camvid" / "train" / "5.png").write_bytes(b"cut")
    monkeypatch.setattr(batches, "PARALLEL_SAMPLES", 1)
    with pytest.raises(DatasetError, match="^[^\n]*train/5.png: not an image that can be decoded[^\n]*$"):
        SampleCache(open_dataset("camvid", tmp_path / "camvid", "train"))
