"""Masks from logits: the CPU path (class by class) and the device path (all at once) against plain PyTorch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsabinet_core.inference import postprocess


@pytest.mark.parametrize("path", [postprocess.masks_from_logits, postprocess._on_device])
@pytest.mark.parametrize("size", [(24, 32), (96, 128), (101, 67), (5, 7)])
@pytest.mark.parametrize("spread", [1.0, 12.0, 50.0, 1000.0])
def test_agrees_with_softmax_and_argmax(path, size, spread):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 19, 24, 32, generator=generator) * spread
    masks, confidences = path(logits.to(memory_format=torch.channels_last), size, confidence=True)

    enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=False).double()
    probability, expected = enlarged.softmax(1).max(1)
    assert masks.dtype == confidences.dtype == np.uint8
    assert masks.shape == confidences.shape == (2, *size)
    assert (masks != expected.numpy()).mean() < 1e-3
    # Near ties of the two best classes are affected by float32 rounding; elsewhere the confidences must be equal.
    two = enlarged.topk(2, dim=1).values
    clear = ((two[:, 0] - two[:, 1]) > 1e-4 * spread).numpy()
    assert clear.mean() > 0.99
    assert np.abs(confidences - 255 * probability.numpy())[clear].max() < 1
    without = path(logits, size, confidence=False)
    np.testing.assert_array_equal(without[0], masks)
    assert without[1] is None


@pytest.mark.parametrize(("best", "other"), [(20.0, -240.0), (-20.0, -190.0), (0.0, -400.0), (90.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("size", [(39, 39), (40, 40), (12, 12)])
def test_confidence_of_distant_logits(best, other, size):
    """Between samples of different classes both logits may be far below their values at the samples."""
    logits = torch.full((1, 2, 4, 4), other)
    logits[0, 0, :, ::2] = logits[0, 1, :, 1::2] = best
    _, confidences = postprocess.masks_from_logits(logits, size, confidence=True)
    probability = F.interpolate(logits.double(), size=size, mode="bilinear").softmax(1).amax(1).numpy()
    # Half a level, plus float32 rounding where logits of several hundred cancel.
    assert np.abs(confidences - 255 * probability).max() < 0.6


SIZES = [(96, 128), (12, 16), (101, 67), (30, 40)]


def results(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    logits = 5 * torch.randn(1, 11, 12, 16, generator=torch.Generator().manual_seed(size[0]))
    masks, confidences = postprocess.masks_from_logits(logits, size, confidence=True)
    assert confidences is not None
    return masks, confidences


def test_memory_kept_between_frames_does_not_change_results(monkeypatch):
    kept = [results(size) for size in SIZES]
    monkeypatch.setattr(postprocess, "MAX_KEPT_PIXELS", 0)
    np.testing.assert_equal(kept, [results(size) for size in SIZES])


def test_threads_do_not_share_memory():
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_equal(list(pool.map(results, SIZES * 10)), [results(size) for size in SIZES] * 10)


def test_one_thread_computes_the_same(one_thread):
    masks, confidences = results((96, 128))
    torch.set_num_threads(2)
    with_two = results((96, 128))
    np.testing.assert_array_equal(with_two[0], masks)
    # Sums of two parts may be rounded differently.
    np.testing.assert_allclose(with_two[1].astype(int), confidences, atol=1)


def test_first_of_equal_classes_wins():
    logits = torch.zeros(1, 4, 8, 8)
    logits[:, 1:3] = 5
    masks, confidences = postprocess.masks_from_logits(logits, (16, 16), confidence=True)
    assert (masks == 1).all()
    assert (confidences == round(255 * np.exp(5) / (2 * np.exp(5) + 2))).all()


def test_half_precision_logits():
    logits = torch.randn(1, 11, 12, 16, generator=torch.Generator().manual_seed(2)).bfloat16()
    masks, _ = postprocess.masks_from_logits(logits, (48, 64), confidence=True)
    expected = F.interpolate(logits.float(), size=(48, 64), mode="bilinear", align_corners=False).argmax(1)
    assert (masks != expected.numpy()).mean() < 1e-3


def test_255_classes():
    logits = torch.zeros(1, 255, 2, 2)
    logits[0, 254] = 1
    assert (postprocess.masks_from_logits(logits, (2, 2), confidence=False)[0] == 254).all()
