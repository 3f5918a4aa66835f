"""Masks by cells against enlarging everything."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsabinet_core.inference import postprocess
from lsabinet_core.inference.cells import mask_by_cells
from lsabinet_core.inference.postprocess import masks_from_logits


def exact(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    enlarged = F.interpolate(torch.from_numpy(logits)[None].double(), size=size, mode="bilinear", align_corners=False)
    return enlarged[0].argmax(0).numpy()


def logits_like(seed: int, classes: int, height: int, width: int) -> np.ndarray:
    """Blobs with noise: cells of one class, borders, and corners where a third class wins in between."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(0, 3, (1, classes, 5, 6)).astype(np.float32))
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear")[0].numpy()
    return smooth + rng.normal(0, 0.3, smooth.shape).astype(np.float32)


@pytest.mark.parametrize("size", [(160, 240), (161, 247), (333, 205), (100, 1000)])
@pytest.mark.parametrize("classes", [1, 2, 11, 255])
def test_equals_enlarging(size, classes):
    logits = logits_like(classes, classes, 20, 30)
    found = mask_by_cells(logits, size)
    assert found.dtype == np.uint8 and found.shape == size
    # In double precision the winner may differ where two classes are equal to the last bit of float32.
    assert (found != exact(logits, size)).mean() < 1e-5


def test_pure_noise_and_least_size():
    rng = np.random.default_rng(0)
    for shape in ((7, 2, 2), (7, 2, 9), (7, 33, 2), (7, 1, 9), (7, 1, 1)):
        logits = rng.normal(0, 1, shape).astype(np.float32)
        np.testing.assert_array_equal(mask_by_cells(logits, (180, 210)), exact(logits, (180, 210)))


def test_a_third_class_between_two():
    logits = np.array([[[10.0, 0.0]] * 2, [[9.0, 9.0]] * 2, [[0.0, 10.0]] * 2], dtype=np.float32)
    mask = mask_by_cells(logits, (20, 40))
    assert mask[10].tolist() == exact(logits, (20, 40))[10].tolist()
    assert set(mask[10]) == {0, 1, 2}


def test_ties_go_to_the_first_class():
    assert not mask_by_cells(np.zeros((5, 4, 4), np.float32), (40, 40)).any()


def test_the_best_logits():
    logits = logits_like(4, 11, 20, 30)
    for size in ((160, 240), (161, 247)):
        best = np.full(size, np.nan, np.float32)
        np.testing.assert_array_equal(mask_by_cells(logits, size, best), mask_by_cells(logits, size))
        enlarged = F.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear")[0]
        np.testing.assert_allclose(best, enlarged.amax(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_what_is_no_number_stops_nothing(share):
    logits = logits_like(5, 7, 20, 30)
    broken = np.random.default_rng(0).random(logits.shape[1:]) < share
    logits[3, broken] = np.nan
    found, _ = masks_from_logits(torch.from_numpy(logits)[None], (160, 240), confidence=True)
    # A broken sample reaches no pixel beyond the next samples.
    near = F.interpolate(
        F.max_pool2d(torch.from_numpy(broken[None, None].astype(np.float32)), 3, 1, 1), size=(160, 240)
    )
    far = near[0, 0].numpy() == 0
    assert (found[0] == mask_by_cells(np.nan_to_num(logits), (160, 240)))[far].all()


def test_masks_do_not_depend_on_the_way(monkeypatch):
    logits = torch.from_numpy(logits_like(3, 11, 24, 32))[None]
    used = []
    monkeypatch.setattr(postprocess, "mask_by_cells", lambda *args: used.append(args) or mask_by_cells(*args))
    for size in ((240, 320), (96, 128), (10, 12)):
        found, confidence = masks_from_logits(logits, size, confidence=False)
        assert confidence is None
        np.testing.assert_array_equal(found, masks_from_logits(logits, size, confidence=True)[0])
    # Both times at the largest size: asking for confidence changes no pixel.
    assert len(used) == 2
