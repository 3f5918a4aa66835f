"""Temporal consistency: masks that move with the image are consistent, and newly visible pixels do not count."""

import cv2
import numpy as np
import pytest

from lsabinet_core.evaluation.temporal import TemporalConsistency

HEIGHT, WIDTH = 120, 160


def texture(seed=0, height=HEIGHT, width=WIDTH + 60):
    """An image with structure at several scales, which optical flow can track."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (8, 16, 32):
        noise = rng.uniform(0, 255, (cells, cells * 2, 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    return np.clip(total, 0, 255).astype(np.uint8)


def areas(width=WIDTH + 60):
    """A mask of two classes, separated by a slanted line."""
    return (np.add.outer(np.arange(HEIGHT) // 2, np.arange(width)) > width * 0.6).astype(np.uint8)


@pytest.mark.parametrize("shift", [0, 3, 8])
def test_a_mask_that_moves_with_the_image_is_consistent(shift):
    picture, mask = texture(), areas()
    temporal = TemporalConsistency(3)
    assert temporal.update(picture[:, :WIDTH], mask[:, :WIDTH]) is None
    moved = temporal.update(picture[:, shift : shift + WIDTH], mask[:, shift : shift + WIDTH])
    assert moved > 0.97
    assert temporal.confusion.miou == moved
    if shift:
        still = TemporalConsistency(3)
        still.update(picture[:, :WIDTH], mask[:, :WIDTH])
        assert still.update(picture[:, shift : shift + WIDTH], mask[:, :WIDTH]) < moved - 0.01


def test_consistency_in_a_still_image_is_the_miou_of_both_masks():
    picture = texture()[:, :WIDTH]
    first, second = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    first[:, 40:], second[:, 60:] = 1, 1
    temporal = TemporalConsistency(2)
    temporal.update(picture, first)
    expected = np.mean([40 / 60, 100 / 120])
    assert temporal.update(picture, second) == pytest.approx(expected, abs=1e-6)


def test_newly_visible_pixels_do_not_count():
    picture, shift = texture(), 12
    temporal = TemporalConsistency(2)
    temporal.update(picture[:, :WIDTH], np.zeros((HEIGHT, WIDTH), np.uint8))
    # The part that comes into view has another class.
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, WIDTH - shift :] = 1
    temporal.update(picture[:, shift : shift + WIDTH], mask)
    new, old = HEIGHT * shift, HEIGHT * (WIDTH - shift)
    assert temporal.confusion.matrix[0, 1] < 0.05 * new
    assert temporal.confusion.matrix[0, 0] > 0.95 * old


def test_another_size_starts_a_new_sequence():
    temporal = TemporalConsistency(2)
    temporal.update(texture()[:, :WIDTH], np.zeros((HEIGHT, WIDTH), np.uint8))
    assert temporal.update(texture()[:, :80], np.zeros((HEIGHT, 80), np.uint8)) is None
    assert not temporal.confusion.matrix.any()
