"""``mask_by_cells`` against upsampling all logits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lsabinet_core.inference import postprocess
from lsabinet_core.inference.cells import MIN_SCALE, mask_by_cells
from lsabinet_core.inference.postprocess import masks_from_logits


def exact(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    enlarged = F.interpolate(torch.from_numpy(logits)[None].double(), size=size, mode="bilinear", align_corners=False)
    return enlarged[0].argmax(0).numpy()


def logits_like(seed: int, classes: int, height: int, width: int) -> np.ndarray:
    """Noisy blobs with cells of one class, borders, and cells in which a third class wins between the corners."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 3, (1, classes, 5, 6)).astype(np.float32))
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear")[0].numpy()
    return smooth + rng.normal(0, 0.3, smooth.shape).astype(np.float32)


@pytest.mark.parametrize("size", [(160, 240), (161, 247), (333, 205), (100, 1000)])
@pytest.mark.parametrize("classes", [1, 2, 11, 255])
def test_matches_full_upsampling(size, classes):
    logits = logits_like(classes, classes, 20, 30)
    found = mask_by_cells(logits, size)
    assert found.dtype == np.uint8
    assert found.shape == size
    # In double precision another class may win if two are equal in the last bit of float32.
    assert (found != exact(logits, size)).mean() < 1e-5


def bilinear(samples: int, count: int) -> np.ndarray:
    """Float64 (count, samples): weights of an enlargement along one axis, with half-pixel centres."""
    place = np.clip((np.arange(count) + 0.5) * samples / count - 0.5, 0, samples - 1)
    before = np.minimum(place.astype(int), max(samples - 2, 0))
    weights = np.zeros((count, samples))
    weights[np.arange(count), before] = 1 - (place - before)
    weights[np.arange(count), np.minimum(before + 1, samples - 1)] += place - before
    return weights


@st.composite
def enlargements(draw) -> tuple[np.ndarray, tuple[int, int]]:
    """Logits of any shape and content, and a size for which cells are used; at smaller sizes, a cell may be empty."""
    values = st.floats(-50, 50, width=32)
    logits = draw(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=values))
    height, width = (draw(st.integers(int(MIN_SCALE) * side, 12 * side)) for side in logits.shape[1:])
    return logits, (height, width)


@given(enlargements())
def test_the_winner_is_a_best_class_of_the_enlarged_logits(enlargement):
    logits, size = enlargement
    rows, columns = bilinear(logits.shape[1], size[0]), bilinear(logits.shape[2], size[1])
    enlarged = rows @ logits.astype(np.float64) @ columns.T
    best = np.full(size, np.nan, np.float32)
    found = mask_by_cells(logits, size, best)
    won = np.take_along_axis(enlarged, found[None].astype(int), 0)[0]
    # Several classes may be best; float32 cannot tell those apart that are almost equal.
    np.testing.assert_allclose(won, enlarged.max(0), rtol=0, atol=1e-4)
    np.testing.assert_allclose(best, enlarged.max(0), rtol=0, atol=1e-4)


def test_noise_and_minimum_size():
    rng = np.random.default_rng(0)
    for shape in ((7, 2, 2), (7, 2, 9), (7, 33, 2), (7, 1, 9), (7, 1, 1)):
        logits = rng.normal(0, 1, shape).astype(np.float32)
        np.testing.assert_array_equal(mask_by_cells(logits, (180, 210)), exact(logits, (180, 210)))


def test_third_class_between_two_samples():
    logits = np.array([[[10.0, 0.0]] * 2, [[9.0, 9.0]] * 2, [[0.0, 10.0]] * 2], dtype=np.float32)
    mask = mask_by_cells(logits, (20, 40))
    assert mask[10].tolist() == exact(logits, (20, 40))[10].tolist()
    assert set(mask[10]) == {0, 1, 2}


def test_first_class_wins_ties():
    assert not mask_by_cells(np.zeros((5, 4, 4), np.float32), (40, 40)).any()


def test_maximum_logits():
    logits = logits_like(4, 11, 20, 30)
    for size in ((160, 240), (161, 247)):
        best = np.full(size, np.nan, np.float32)
        np.testing.assert_array_equal(mask_by_cells(logits, size, best), mask_by_cells(logits, size))
        enlarged = F.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear")[0]
        np.testing.assert_allclose(best, enlarged.amax(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_nan_logits(share):
    logits = logits_like(5, 7, 20, 30)
    broken = np.random.default_rng(0).random(logits.shape[1:]) < share
    logits[3, broken] = np.nan
    found, _ = masks_from_logits(torch.from_numpy(logits)[None], (160, 240), confidence=True)
    # A NaN sample affects no pixel beyond the neighbouring samples.
    near = F.interpolate(
        F.max_pool2d(torch.from_numpy(broken[None, None].astype(np.float32)), 3, 1, 1), size=(160, 240)
    )
    far = near[0, 0].numpy() == 0
    assert (found[0] == mask_by_cells(np.nan_to_num(logits), (160, 240)))[far].all()


def test_confidence_does_not_change_the_mask(monkeypatch):
    logits = torch.from_numpy(logits_like(3, 11, 24, 32))[None]
    used = []
    monkeypatch.setattr(postprocess, "mask_by_cells", lambda *args: used.append(args) or mask_by_cells(*args))
    for size in ((240, 320), (96, 128), (10, 12)):
        found, confidence = masks_from_logits(logits, size, confidence=False)
        assert confidence is None
        np.testing.assert_array_equal(found, masks_from_logits(logits, size, confidence=True)[0])
    # Even at the largest size, requesting the confidence changes no pixel.
    assert len(used) == 2
