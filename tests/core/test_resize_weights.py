"""Resize matrices against OpenCV and hand-computed values."""

import cv2
import numpy as np
import pytest

from lsabinet_core.resize_weights import area_weights, linear_weights


@pytest.mark.parametrize(
    ("weights", "flag", "old", "new"),
    [(area_weights, cv2.INTER_AREA, 7, 3), (area_weights, cv2.INTER_AREA, 4, 4), (area_weights, cv2.INTER_AREA, 5, 1)]
    + [(linear_weights, cv2.INTER_LINEAR, *sides) for sides in [(3, 7), (7, 3), (4, 4), (1, 5)]],
)
def test_results_match_opencv(weights, flag, old, new):
    pixels = np.random.default_rng(3).random((1, old)).astype(np.float32)
    matrix = weights(old, new)
    assert matrix.shape == (new, old)
    np.testing.assert_allclose(matrix.sum(1), 1)
    np.testing.assert_allclose(pixels @ matrix.T, cv2.resize(pixels, (new, 1), interpolation=flag), atol=1e-6)


def test_weights_match_hand_computed_values():
    # From three pixels to two: each new pixel covers one and a half old ones.
    np.testing.assert_allclose(area_weights(3, 2), np.array([[2, 1, 0], [0, 1, 2]]) / 3)
    # From two pixels to four: the new centres are at -1/4, 1/4, 3/4 and 5/4.
    np.testing.assert_allclose(linear_weights(2, 4), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
