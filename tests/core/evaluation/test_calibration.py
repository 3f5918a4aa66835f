"""Expected calibration error against torchmetrics, and bins against hand-computed values."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.calibration import Calibration
from lsabinet_core.labels import VOID


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    classes = 4
    ours = Calibration()
    oracle = MulticlassCalibrationError(num_classes=classes, n_bins=15, norm="l1", ignore_index=VOID)
    # Every 17th level is a bin edge, where float32 rounding decides the bin.
    levels = np.array([level for level in range(90, 255) if level % 17])
    for _ in range(3):
        prediction = rng.integers(0, classes, (20, 30)).astype(np.uint8)
        confidence = rng.choice(levels, (20, 30)).astype(np.uint8)
        right = rng.random((20, 30)) < (confidence / 255) ** 2
        label = np.where(right, prediction, (prediction + 1) % classes).astype(np.uint8)
        label[rng.random(label.shape) < 0.1] = VOID
        ours.update(prediction, confidence, label)

        probability = torch.from_numpy(confidence / 255)[:, None].reshape(-1, 1)
        scores = ((1 - probability) / (classes - 1)).repeat(1, classes)
        scores.scatter_(1, torch.from_numpy(prediction.reshape(-1, 1)).long(), probability)
        oracle.update(scores, torch.from_numpy(label.reshape(-1)).long())
    assert ours.ece == pytest.approx(float(oracle.compute()), abs=1e-6)
    assert ours.ece > 0.05


def test_bins_match_hand_computed_values():
    calibration = Calibration()
    #                        bin 0: 0, 16   bin 1: 17 is its lower edge   bin 14: 238, 255
    confidence = np.array([0, 16, 17, 33, 238, 255, 255], np.uint8)
    prediction = np.array([0, 0, 0, 0, 0, 0, 0], np.uint8)
    label = np.array([1, 0, 0, VOID, 0, 1, 0], np.uint8)
    calibration.update(prediction, confidence, label)
    bins = calibration.bins()
    np.testing.assert_allclose(bins.edges, np.arange(16) / 15)
    assert bins.counts.tolist() == [2, 1, *[0] * 12, 3]
    np.testing.assert_allclose(bins.confidence[[0, 1, 14]], [8 / 255, 17 / 255, (238 + 255 + 255) / 3 / 255])
    np.testing.assert_allclose(bins.accuracy[[0, 1, 14]], [1 / 2, 1, 2 / 3])
    assert np.isnan(bins.confidence[2:14]).all()
    assert np.isnan(bins.accuracy[2:14]).all()
    gaps = [abs(8 / 255 - 1 / 2), abs(17 / 255 - 1), abs(748 / 765 - 2 / 3)]
    assert bins.ece == pytest.approx((2 * gaps[0] + gaps[1] + 3 * gaps[2]) / 6)
    assert bins.ece == calibration.ece
    assert bins.mean_confidence == pytest.approx((0 + 16 + 17 + 238 + 255 + 255) / 6 / 255)


def test_other_numbers_of_bins():
    calibration = Calibration()
    levels = np.arange(256, dtype=np.uint8)
    calibration.update(np.zeros(256, np.uint8), levels, np.zeros(256, np.uint8))
    for count in (1, 10, 20):
        bins = calibration.bins(count)
        counts, _ = np.histogram(levels / 255, bins=np.linspace(0, 1, count + 1))
        # The bin edges of NumPy are rounded as well, so a level on an edge may fall into either bin.
        assert np.abs(bins.counts - counts).max() <= 1
        assert bins.counts.sum() == 256


def test_nothing_labelled_is_undefined():
    calibration = Calibration()
    calibration.update(np.zeros(4, np.uint8), np.full(4, 200, np.uint8), np.full(4, VOID, np.uint8))
    assert np.isnan(calibration.ece)
    assert np.isnan(calibration.bins().mean_confidence)


def test_bad_input():
    ids = np.zeros((2, 3), np.uint8)
    with pytest.raises(DatasetError, match=r"shape \(2, 3\).*got \(2, 2\)"):
        Calibration().update(ids, ids, np.zeros((2, 2), np.uint8))
    with pytest.raises(ValueError, match="uint8 of shape"):
        Calibration().update(ids, ids / 255, ids)
