"""Resizing of frames on the device (here the CPU) against OpenCV."""

import numpy as np
import pytest
import torch

from lsabinet_core.inference.device_frames import DeviceFrames, resize
from lsabinet_core.inference.preprocess import stack_frames

CPU = torch.device("cpu")
FRAME = np.random.default_rng(1).integers(0, 256, (90, 120, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "size", [(45, 60), (30, 40), (64, 100), (89, 119), (90, 120), (180, 240), (97, 131), (64, 160), (120, 90)]
)
def test_resize_matches_opencv(size):
    ours = resize(torch.from_numpy(FRAME), size)
    theirs = stack_frames([FRAME], size)[0]
    assert ours.dtype == torch.uint8
    assert ours.shape == (*size, 3)
    difference = np.abs(ours.numpy().astype(int) - theirs)
    assert difference.max() <= 1
    assert difference.mean() < 0.13, "only rounding may differ"


def test_frames_of_several_sizes_and_layouts():
    frames = [FRAME, FRAME[::2, ::2], np.ascontiguousarray(FRAME.transpose(1, 0, 2)).transpose(1, 0, 2)]
    frames[0].flags.writeable = False
    before = [frame.copy() for frame in frames]
    stack = DeviceFrames(CPU)
    for order in ("bgr", "rgb"):
        batch = stack(frames, (45, 60), order)
        assert batch.shape == (3, 45, 60, 3)
        assert batch.is_contiguous()
        expected = stack_frames(frames, (45, 60), order)
        assert np.abs(batch.numpy().astype(int) - expected).max() <= 1
    assert all((frame == copy).all() for frame, copy in zip(frames, before, strict=True))
