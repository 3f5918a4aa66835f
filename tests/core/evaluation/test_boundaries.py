"""Boundary F-score against hand-computed cases and a brute-force search over all pixel pairs."""

import cv2
import numpy as np
import pytest

from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.boundaries import BoundaryScore, boundary_f
from lsabinet_core.labels import VOID


def halves(column: int, size: tuple[int, int] = (6, 20)) -> np.ndarray:
    """Return a mask with class 0 to the left of ``column`` and class 1 from there on."""
    ids = np.zeros(size, np.uint8)
    ids[:, column:] = 1
    return ids


def search(prediction, label, num_classes, tolerance):
    """Compute the score from its definition: every pixel, every neighbour, every pair."""
    height, width = label.shape

    def boundary(ids, class_id):
        points = []
        for y, x in np.argwhere(ids == class_id):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            values = [ids[v, u] for v, u in around if 0 <= v < height and 0 <= u < width]
            if any(value not in (class_id, VOID) for value in values):
                points.append((y, x))
        return np.array(points).reshape(-1, 2)

    def share_near(points, others):
        near = [((others - point) ** 2).sum(axis=1).min(initial=10**9) <= tolerance**2 for point in points]
        return np.mean(near)

    void = np.argwhere(label == VOID)
    scores = []
    for class_id in range(num_classes):
        predicted, true = boundary(prediction, class_id), boundary(label, class_id)

        def counted(points):
            return [p for p in points if ((void - p) ** 2).sum(axis=1).min(initial=10**9) > tolerance**2]

        some_predicted, some_true = counted(predicted), counted(true)
        if not some_predicted and not some_true:
            scores.append(np.nan)
        elif not some_predicted or not some_true:
            scores.append(0.0)
        else:
            precision, recall = share_near(some_predicted, true), share_near(some_true, predicted)
            scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return scores


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_search_over_all_pairs(seed, tolerance):
    rng = np.random.default_rng(seed)
    label, prediction = (
        cv2.resize(rng.integers(0, 4, (4, 5)).astype(np.uint8), (31, 24), interpolation=cv2.INTER_NEAREST)
        for _ in range(2)
    )
    # The prediction is the label, shifted and with noise.
    keep = np.roll(label, (1, 2), (0, 1))
    prediction = np.where(rng.random(label.shape) < 0.02, prediction, keep)
    label[rng.random(label.shape) < 0.004] = VOID
    label[:3, :4] = VOID
    ours = boundary_f(prediction, label, 5, tolerance)
    np.testing.assert_allclose(ours, search(prediction, label, 5, tolerance), rtol=1e-12)
    assert np.isnan(ours[4])
    assert np.nanmax(ours) > 0


@pytest.mark.parametrize(
    ("shift", "tolerance", "expected"),
    [
        # If the line moves by n pixels, the edges of both classes are n pixels away from the true ones.
        (0, 0, 1.0),
        (1, 0, 0.0),
        (1, 1, 1.0),
        (3, 2, 0.0),
        (3, 3, 1.0),
        (-4, 3, 0.0),
    ],
)
def test_shifted_line(shift, tolerance, expected):
    np.testing.assert_array_equal(boundary_f(halves(10 + shift), halves(10), 2, tolerance), [expected] * 2)


def test_precision_and_recall_match_hand_computed_values():
    """The prediction has the true edge and a false one, so precision is 1/2 and recall is 1."""
    prediction = halves(5)
    prediction[:, 15:] = 0
    # Class 0's predicted edges are columns 4 and 15, class 1's are 5 and 14; the true ones are 4 and 5.
    np.testing.assert_allclose(boundary_f(prediction, halves(5), 2, 3), [2 / 3] * 2)


def test_distance_is_euclidean():
    label, prediction = np.zeros((2, 12, 12), np.uint8)
    label[5, 5] = prediction[7, 7] = 1
    # The distance is sqrt(8), between 2 and 3.
    assert boundary_f(prediction, label, 2, 2)[1] == 0
    assert boundary_f(prediction, label, 2, 3)[1] == 1


def test_class_in_only_prediction_or_label():
    blank = np.zeros((6, 20), np.uint8)
    np.testing.assert_array_equal(boundary_f(halves(10), blank, 3, 3), [0, 0, np.nan])
    np.testing.assert_array_equal(boundary_f(blank, halves(10), 3, 3), [0, 0, np.nan])
    assert np.isnan(boundary_f(blank, blank, 3, 3)).all()


def test_void_creates_no_boundary_and_hides_boundaries_near_it():
    label = halves(10)
    label[:, 9:11] = VOID
    # The only true boundary is in void, and the predicted one is within the tolerance of void.
    assert np.isnan(boundary_f(halves(12), label, 2, 3)).all()
    # Columns 13 and 14 are 3 and 4 pixels from the last void column, so only column 14 counts; it has no true match.
    np.testing.assert_array_equal(boundary_f(halves(14), label, 2, 3), [np.nan, 0])
    assert np.isnan(boundary_f(halves(10), np.full((6, 20), VOID, np.uint8), 2, 3)).all()


def test_mean_over_the_images_that_have_the_class():
    score = BoundaryScore(3, 1)
    score.update(halves(10), halves(10))
    score.update(halves(15), halves(10))
    lonely = np.zeros((6, 20), np.uint8)
    lonely[:, 10:] = 2
    score.update(lonely, lonely)
    np.testing.assert_allclose(score.per_class, [2 / 3, 1 / 2, 1])
    np.testing.assert_array_equal(score.images_per_class, [3, 2, 1])
    assert score.mean == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert np.isnan(BoundaryScore(2).mean)


def test_bad_input():
    with pytest.raises(DatasetError, match=r"shape \(6, 20\).*got \(6, 21\)"):
        boundary_f(halves(3), halves(3, (6, 21)), 2, 3)
    with pytest.raises(ValueError, match="0 pixels or more, got -1"):
        BoundaryScore(2, -1)
