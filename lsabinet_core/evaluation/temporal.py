"""Temporal consistency: agreement of each mask with the previous one, moved along with the image.

The previous mask is warped by the optical flow between the two frames (DIS: Kroeger et al., ECCV 2016), and compared
with the current one: mIoU with the warped mask in place of the label, as in Liu et al., "Efficient Semantic Video
Segmentation with Per-frame Inference" (ECCV 2020). Pixels that were not visible in the previous frame are left out:
those where the flow there and back does not return to its start (Sundaram et al., ECCV 2010). It needs no labels, and
does not tell whether the masks are right.
"""

from typing import Any

import cv2
import numpy as np

from lsabinet_core.evaluation.confusion import ConfusionMatrix, confusion_counts
from lsabinet_core.labels import VOID

RELATIVE_TOLERANCE, TOLERANCE_PX2 = 0.01, 0.5
"""Sundaram's thresholds: the squared distance between there and back may be this share of the squared lengths of both
flows, plus this number of squared pixels."""


class TemporalConsistency:
    """Accumulates the agreement of successive masks of one camera.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int):
        self.confusion = ConfusionMatrix(num_classes)
        """``[previous class, warped][current class]`` pixel counts."""
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._previous: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, frame: np.ndarray, mask: np.ndarray) -> float | None:
        """Add the next frame.

        Args:
            frame: BGR, uint8 (H, W, 3).
            mask: class ids, uint8 (H, W).

        Returns:
            mIoU with the previous mask, 0..1; None for the first frame, after a change of size, and if no pixel is
            visible in both frames.
        """
        grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        previous, self._previous = self._previous, (grey, mask)
        if previous is None or previous[0].shape != grey.shape:
            return None
        alone = ConfusionMatrix(self.confusion.num_classes)
        alone.matrix += confusion_counts(mask, self._warped(*previous, grey), alone.num_classes)
        self.confusion.matrix += alone.matrix
        return alone.miou if alone.matrix.any() else None

    def _warped(self, previous: np.ndarray, mask: np.ndarray, current: np.ndarray) -> np.ndarray:
        """The mask of the previous frame at the pixels of the current one; VOID where those were not visible."""
        no_guess: Any = None  # OpenCV accepts None; its stubs do not say so.
        back = self._flow.calc(current, previous, no_guess)
        there = self._flow.calc(previous, current, no_guess)
        height, width = current.shape
        x = np.arange(width, dtype=np.float32) + back[..., 0]
        y = np.arange(height, dtype=np.float32)[:, None] + back[..., 1]
        returned = cv2.remap(there, x, y, cv2.INTER_LINEAR)
        gap = np.square(back + returned).sum(axis=-1)
        lengths = np.square(back).sum(axis=-1) + np.square(returned).sum(axis=-1)
        warped = cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=VOID)
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        warped[~inside | (gap > RELATIVE_TOLERANCE * lengths + TOLERANCE_PX2)] = VOID
        return warped
