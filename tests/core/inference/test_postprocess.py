"""Masks from logits: the CPU path (class by class) and the device path (all at once) against plain PyTorch."""

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
