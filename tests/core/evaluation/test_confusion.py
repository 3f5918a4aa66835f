"""Confusion matrix and IoU against torchmetrics and hand-computed cases."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation import ConfusionMatrix
from lsabinet_core.labels import VOID


def random_case(seed: int, num_classes: int, images: int = 3):
    """Return pairs of (prediction, label) with void; one class is in neither, one only in the labels."""
    rng = np.random.default_rng(seed)
    absent, missed = rng.choice(num_classes, 2, replace=False)
    pairs = []
    for _ in range(images):
        label = rng.integers(0, num_classes, (37, 53)).astype(np.uint8)
        prediction = np.where(rng.random(label.shape) < 0.6, label, rng.integers(0, num_classes, label.shape))
        spare = next(c for c in range(num_classes) if c not in (absent, missed))
        label[label == absent] = spare
        prediction[(prediction == absent) | (prediction == missed)] = spare
        label[rng.random(label.shape) < 0.1] = VOID
        pairs.append((prediction.astype(np.uint8), label))
    return pairs


@pytest.mark.parametrize("num_classes", [3, 11, 19])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_torchmetrics(seed, num_classes):
    ours = ConfusionMatrix(num_classes)
    options = {"num_classes": num_classes, "ignore_index": VOID}
    matrix = MulticlassConfusionMatrix(**options)
    per_class = MulticlassJaccardIndex(**options, average="none")
    macro = MulticlassJaccardIndex(**options, average="macro")
    for prediction, label in random_case(seed, num_classes):
        ours.update(prediction, label)
        for metric in (matrix, per_class, macro):
            metric.update(torch.from_numpy(prediction).long(), torch.from_numpy(label).long())

    np.testing.assert_array_equal(ours.matrix, matrix.compute().numpy())
    iou = ours.iou_per_class
    assert np.isnan(iou).sum() == 1
    # torchmetrics computes in float32 and reports 0 for the absent class, but excludes it from the mean.
    np.testing.assert_array_equal(np.nan_to_num(iou).astype(np.float32), per_class.compute().numpy())
    assert ours.miou == pytest.approx(float(macro.compute()), abs=1e-7)


def test_matrix_matches_hand_computed_values():
    # Class 0 is predicted in half of its pixels, 1 has a false positive, 2 is never predicted, 3 occurs in neither.
    label = np.array([[0, 0, 1, 1], [2, 2, VOID, VOID]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1, 1], [0, 1, 2, 3]], dtype=np.uint8)
    confusion = ConfusionMatrix(4)
    confusion.update(prediction, label)

    np.testing.assert_array_equal(confusion.matrix, [[1, 1, 0, 0], [0, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert confusion.matrix.dtype == np.int64
    np.testing.assert_array_equal(confusion.support, [2, 2, 2, 0])
    np.testing.assert_allclose(confusion.iou_per_class, [1 / 3, 2 / 4, 0, np.nan])
    assert confusion.miou == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert confusion.miou_paper_rule == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert confusion.pixel_accuracy == pytest.approx(3 / 6)
    np.testing.assert_allclose(confusion.accuracy_per_class, [1 / 2, 1, 0, np.nan])
    np.testing.assert_allclose(confusion.precision_per_class, [1 / 2, 2 / 4, np.nan, np.nan])
    assert confusion.mean_class_accuracy == pytest.approx((1 / 2 + 1 + 0) / 3)
    rows = [[1 / 2, 1 / 2, 0, 0], [0, 1, 0, 0], [1 / 2, 1 / 2, 0, 0], [np.nan] * 4]
    np.testing.assert_allclose(confusion.normalised, rows)


def test_class_only_predicted_counts_as_zero():
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([0, 0, 2]), np.array([0, 0, 0]))
    np.testing.assert_allclose(confusion.iou_per_class, [2 / 3, np.nan, 0])
    assert confusion.miou == pytest.approx(1 / 3)


def test_counts_beyond_32_bits():
    confusion = ConfusionMatrix(2)
    confusion.matrix[:] = 2**40
    confusion.update(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    assert confusion.matrix[0, 0] == 2**40 + 16


def test_only_void_is_undefined_not_an_error():
    confusion = ConfusionMatrix(2)
    confusion.update(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8))
    assert np.isnan([confusion.miou, confusion.miou_paper_rule, confusion.pixel_accuracy]).all()
    assert np.isnan(confusion.mean_class_accuracy)
    assert np.isnan(confusion.normalised).all()
    assert confusion.matrix.sum() == 0


def test_bad_input_raises_and_leaves_the_matrix_unchanged():
    confusion = ConfusionMatrix(3)
    with pytest.raises(DatasetError, match=r"shape \(2, 2\).*got \(2, 3\)"):
        confusion.update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"0\.\.2 or 255.*got 7"):
        confusion.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8))
    with pytest.raises(ValueError, match=r"predicted ids 0\.\.2"):
        confusion.update(np.full((2, 2), 3, np.uint8), np.zeros((2, 2), np.uint8))
    assert confusion.matrix.sum() == 0
