"""Colours, blending and the legend."""

from functools import partial

import numpy as np
import pytest
import torch

from lsabinet_core.errors import FrameError
from lsabinet_core.inference.device_overlay import DeviceOverlay
from lsabinet_core.inference.overlay import blend, colorize, draw_legend
from lsabinet_core.labels import CAMVID, CITYSCAPES, VOID


@pytest.mark.parametrize("label_set", [CAMVID, CITYSCAPES])
def test_colorize_uses_the_palette_in_bgr(label_set):
    mask = np.random.default_rng(0).integers(0, len(label_set), (31, 47)).astype(np.uint8)
    mask[0] = VOID
    colored = colorize(mask, label_set)
    assert colored.dtype == np.uint8
    assert colored.shape == (31, 47, 3)
    assert (colored[0] == 0).all()
    for y, x in ((1, 0), (15, 20), (30, 46)):
        assert tuple(colored[y, x][::-1]) == label_set.colors[mask[y, x]]


def test_blend_mixes_by_alpha():
    frame = np.full((4, 6, 3), 200, np.uint8)
    mask = np.full((4, 6), CAMVID.names.index("Car"), np.uint8)
    color = np.array(CAMVID.colors[mask[0, 0]][::-1], dtype=float)
    for alpha in (0.0, 0.25, 1.0):
        expected = 200 * (1 - alpha) + color * alpha
        assert np.abs(blend(frame, mask, CAMVID, alpha)[2, 3] - expected).max() <= 0.5
    assert (frame == 200).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_device_overlay_matches_blend(alpha):
    generator = np.random.default_rng(2)
    frame = generator.integers(0, 256, (31, 47, 3)).astype(np.uint8)
    mask = generator.integers(0, len(CAMVID) + 1, (31, 47)).astype(np.uint8)
    before = frame.copy()
    ours = DeviceOverlay(torch.device("cpu"), CAMVID)(frame, mask, alpha=alpha)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - blend(frame, mask, CAMVID, alpha)).max() <= 1
    assert (frame == before).all()


def test_device_overlay_takes_the_colours_of_another_label_set():
    frame = np.zeros((4, 6, 3), np.uint8)
    mask = np.full((4, 6), 3, np.uint8)
    draw = DeviceOverlay(torch.device("cpu"), CAMVID)
    for label_set in (CITYSCAPES, CAMVID, CITYSCAPES):
        assert tuple(draw(frame, mask, 1.0, label_set)[0, 0, ::-1]) == label_set.colors[3]


def test_legend_has_a_row_per_class():
    legend = draw_legend(CAMVID, row_height=30)
    assert legend.shape[0] == 11 * 30
    for row, color in enumerate(CAMVID.colors):
        assert tuple(legend[row * 30 + 15, 5][::-1]) == color
        assert (legend[row * 30 : (row + 1) * 30, 65:] < 128).any(), "the row contains the name of the class"
    assert (legend[:, -1] == 255).all(), "the longest name fits into the width"


@pytest.mark.parametrize("draw", [partial(blend, label_set=CAMVID), DeviceOverlay(torch.device("cpu"), CAMVID)])
@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((47, 31), np.uint8), "mask of the frame's size, 31x47, got 47x31"),
        (np.zeros((1, 1), np.uint8), "31x47, got 1x1"),
        (np.zeros((31, 47, 3), np.uint8), r"uint8 \(H, W\), got uint8 \(31, 47, 3\)"),
        (np.zeros((31, 47), np.int64), r"uint8 \(H, W\), got int64"),
        ([[0, 1]], "numpy array .* got list"),
    ],
)
def test_invalid_masks_are_rejected(draw, mask, words):
    frame = np.zeros((31, 47, 3), np.uint8)
    with pytest.raises(FrameError, match=words):
        draw(frame, mask, alpha=0.5)
    with pytest.raises(FrameError, match="got a grey one"):
        draw(frame[..., 0], np.zeros((31, 47), np.uint8), alpha=0.5)
