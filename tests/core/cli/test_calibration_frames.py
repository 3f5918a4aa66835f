"""Calibration frames for int8, spread evenly over a drive of unknown length."""

import numpy as np
import pytest

from lsabinet_core.cli.calibration_frames import spread_frames


@pytest.mark.parametrize(
    ("length", "most", "kept"),
    [
        (0, 4, []),
        (3, 4, [0, 1, 2]),
        (4, 4, [0, 1, 2, 3]),
        (5, 4, [0, 2, 4]),
        (8, 4, [0, 2, 4, 6]),
        (9, 4, [0, 4, 8]),
        (40, 4, [0, 16, 32]),
        (100, 10, [0, 16, 32, 48, 64, 80, 96]),
    ],
)
def test_spread_over_all_frames(length, most, kept):
    frames = ((f"frame {index}", np.full((4, 6, 3), index, np.uint8)) for index in range(length))
    done = []
    found, count = spread_frames(frames, (2, 3), most, done.append)
    assert found.shape == (len(kept), 2, 3, 3)
    assert found[:, 0, 0, 0].tolist() == kept
    assert (found == found[:, :1, :1, :1]).all()
    assert count == length
    assert done == list(range(1, length + 1))
