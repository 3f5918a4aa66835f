"""Masks as colour images: class colours, blended into the frame, and a legend."""

from functools import lru_cache

import cv2
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.labels import LabelSet

from .preprocess import check_frame


@lru_cache(maxsize=16)
def palette(label_set: LabelSet) -> np.ndarray:
    """The colours of all ids, BGR uint8 (256, 1, 3), black for ids without a class; must not be modified."""
    table = np.zeros((256, 1, 3), dtype=np.uint8)
    table[: len(label_set), 0] = np.asarray(label_set.colors, dtype=np.uint8)[:, ::-1]
    return table


def colorize(mask: np.ndarray, label_set: LabelSet) -> np.ndarray:
    """Map class ids, uint8 (H, W), to colours, BGR uint8 (H, W, 3); ids without a class (void) become black."""
    return cv2.LUT(cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), palette(label_set))


def blend(frame: np.ndarray, mask: np.ndarray, label_set: LabelSet, alpha: float = 0.5) -> np.ndarray:
    """Blend the class colours into a frame.

    Args:
        frame: BGR uint8 (H, W, 3); not changed.
        mask: class ids, uint8 (H, W).
        label_set: the classes with their colours.
        alpha: weight of the colours, 0 (frame only) to 1 (colours only).

    Returns:
        BGR uint8 (H, W, 3).

    Raises:
        FrameError: frame or mask has a wrong dtype or shape, or their sizes differ.
    """
    check_overlay(frame, mask)
    return cv2.addWeighted(frame, 1 - alpha, colorize(mask, label_set), alpha, 0)


def check_overlay(frame: np.ndarray, mask: np.ndarray) -> None:
    """Raise FrameError unless ``frame`` is uint8 (H, W, 3) and ``mask`` uint8 (H, W) of the same size."""
    check_frame(frame)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.ndim != 2:
        what = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise FrameError(f"expected a mask to be a numpy array of uint8 (H, W), got {what}")
    if mask.shape != frame.shape[:2]:
        raise FrameError(
            f"expected a mask of the frame's size, {frame.shape[0]}x{frame.shape[1]}, got "
            f"{mask.shape[0]}x{mask.shape[1]}: enlarge it with cv2.resize(..., interpolation=cv2.INTER_NEAREST)"
        )


def draw_legend(label_set: LabelSet, row_height: int = 24) -> np.ndarray:
    """Colour and name of every class, one per row: BGR uint8 (C * row_height, width, 3) on white."""
    font, scale, gap = cv2.FONT_HERSHEY_SIMPLEX, row_height / 48, row_height // 4
    text_left = 2 * row_height + gap
    text_width = max(cv2.getTextSize(name, font, scale, 1)[0][0] for name in label_set.names)
    legend = np.full((len(label_set) * row_height, text_left + text_width + gap, 3), 255, dtype=np.uint8)
    for row, (name, color) in enumerate(zip(label_set.names, label_set.colors, strict=True)):
        top, bottom = row * row_height, (row + 1) * row_height
        legend[top:bottom, : 2 * row_height] = color[::-1]
        cv2.putText(legend, name, (text_left, bottom - row_height // 3), font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return legend
