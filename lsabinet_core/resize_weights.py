"""Resizing as sums along one axis and then the other, for devices that OpenCV does not know.

Each function gives what the pixels along a side add to each of the resized ones: float64 (new, old), rows of sum 1.
Products with the matrices of both sides are, up to rounding, what ``cv2.resize`` makes.
"""

import numpy as np


def area_weights(old: int, new: int) -> np.ndarray:
    """INTER_AREA: the mean over the stretch that a new pixel covers; ``new`` is at most ``old``."""
    ratio = old / new
    start = np.arange(new)[:, None] * ratio
    pixel = np.arange(old)
    return np.clip(np.minimum(start + ratio, pixel + 1) - np.maximum(start, pixel), 0, None) / ratio


def linear_weights(old: int, new: int) -> np.ndarray:
    """INTER_LINEAR: between the two nearest pixel centres, the outermost pixel beyond them."""
    centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.clip(1 - np.abs(centre[:, None] - np.arange(old)), 0, None)
