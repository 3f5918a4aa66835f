"""CutMix and ClassMix: what is pasted, from where, with which labels."""

import numpy as np
import pydantic
import pytest
import torch

from lsabinet_core.data.augment import Augmentation
from lsabinet_core.data.batch_mixing import Mix, draw_mixes, mix_batch

SIZE = (20, 30)


@pytest.fixture
def batch():
    """Six images whose channels tell the image, the row and the column, with labels of 6 classes and some void."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    images = np.stack([np.dstack([np.full(SIZE, number), rows, columns]) for number in range(6)]).astype(np.uint8)
    labels = np.random.default_rng(0).integers(0, 6, (6, *SIZE)).astype(np.uint8)
    labels[:, :3] = 255
    return torch.from_numpy(images), torch.from_numpy(labels)


def draw(count=6, seed=0, **settings):
    return draw_mixes(Augmentation(crop_size=SIZE, **settings), count, np.random.default_rng(seed))


def check_origin(batch, mixed, mixes):
    """Each pixel of the result is that of the image itself or of its donor; returns bool (N, H, W), pasted."""
    images, labels = mixed
    pasted = np.zeros(labels.shape, bool)
    for position, mix in enumerate(mixes):
        source = images[position, ..., 0].numpy()
        pasted[position] = source != position
        assert set(np.unique(source)) <= {position} | ({mix.donor} if mix else set())
        assert torch.equal(images[position, ..., 1:], batch[0][position, ..., 1:])
        expected = torch.where(
            torch.from_numpy(pasted[position]), batch[1][mix.donor if mix else 0], batch[1][position]
        )
        assert torch.equal(labels[position], expected)
    return pasted


def test_cutmix_pastes_rectangles(batch):
    areas = []
    for seed in range(30):
        mixes = draw(cutmix=1.0, seed=seed)
        pasted = check_origin(batch, mix_batch(*batch, mixes), mixes)
        for mask, mix in zip(pasted, mixes):
            top, left, bottom, right = mix.rectangle
            inside = np.zeros(SIZE, bool)
            inside[top:bottom, left:right] = True
            assert np.array_equal(mask, inside)
            areas.append(mask.mean())
    # A share drawn from 0..1, less what is clipped.
    assert 0.2 < np.mean(areas) < 0.45 and min(areas) < 0.05 and max(areas) > 0.7


def test_classmix_pastes_half_of_the_classes(batch):
    chosen = set()
    for seed in range(20):
        mixes = draw(classmix=1.0, seed=seed)
        pasted = check_origin(batch, mix_batch(*batch, mixes), mixes)
        for mask, mix in zip(pasted, mixes):
            given = batch[1][mix.donor].numpy()
            classes = np.unique(given[mask])
            assert len(classes) == 3 and classes.max() < 6
            assert np.array_equal(mask, np.isin(given, classes))
            chosen.add(tuple(classes))
    assert len(chosen) == 20


def test_one_class_and_void_give_nothing(batch):
    images, labels = batch
    labels = torch.full_like(labels, 255)
    labels[:, 10:] = 4
    assert torch.equal(mix_batch(images, labels, draw(classmix=1.0))[0], images)


def test_chances(batch):
    mixes = [mix for seed in range(200) for mix in draw(cutmix=0.2, classmix=0.5, seed=seed)]
    assert np.mean([mix is None for mix in mixes]) == pytest.approx(0.3, abs=0.05)
    assert np.mean([mix is not None and mix.rectangle is not None for mix in mixes]) == pytest.approx(0.2, abs=0.05)
    for seed in range(20):
        donors = [mix.donor for mix in draw(cutmix=0.5, classmix=0.5, seed=seed)]
        assert sorted(donors) == list(range(6)) and all(donor != own for own, donor in enumerate(donors))


def test_nothing_to_mix(batch):
    assert draw() == [None] * 6
    assert draw(count=1, cutmix=1.0) == [None]
    assert torch.equal(mix_batch(*batch, [None] * 6)[0], batch[0])


def test_donors_after_the_share(batch):
    mixes = [None, Mix(5, rectangle=(0, 0, 20, 30))]
    images, labels = mix_batch(*batch, mixes)
    assert torch.equal(images, batch[0][[0, 5]]) and torch.equal(labels, batch[1][[0, 5]])


def test_both_chances_at_most_one():
    assert Augmentation(cutmix=0.5, classmix=0.5).classmix == 0.5
    with pytest.raises(pydantic.ValidationError, match="cutmix . classmix of at most 1"):
        Augmentation(cutmix=0.6, classmix=0.5)
    with pytest.raises(pydantic.ValidationError, match="cutmix"):
        Augmentation(cutmix=1.5)
