"""Separable resizing as matrix products, for devices that OpenCV does not support.

Each function returns the weights of the input pixels along one axis for every output pixel: float64 (new, old), rows
that sum to 1. Multiplying an image by the matrices of both axes gives the result of ``cv2.resize`` up to rounding.
"""

import numpy as np


def area_weights(old: int, new: int) -> np.ndarray:
    """Weights of INTER_AREA: the mean over the interval that an output pixel covers; requires ``new <= old``."""
    ratio = old / new
    start = np.arange(new)[:, None] * ratio
    pixel = np.arange(old)
    return np.clip(np.minimum(start + ratio, pixel + 1) - np.maximum(start, pixel), 0, None) / ratio


def linear_weights(old: int, new: int) -> np.ndarray:
    """Weights of INTER_LINEAR between pixel centres, with the border pixel replicated."""
    centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.clip(1 - np.abs(centre[:, None] - np.arange(old)), 0, None)
