"""Boundary F-score: accuracy of the class outlines, independent of area.

Computed per image and class (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013).
Precision is the fraction of predicted boundary pixels with a true boundary pixel within the tolerance, recall the
reverse, and F their harmonic mean. As in DAVIS (Perazzi et al., CVPR 2016), distances are Euclidean, the tolerance is
inclusive, and a class with a boundary in only one of prediction and label scores 0. The score of a class is the mean
over the images in which prediction or label has a boundary of it.

A boundary pixel is a pixel of the class with a 4-neighbour of another class; the image border and void create no
boundary. Pixels within the tolerance of void are ignored, because the truth there is unknown.
"""

import cv2
import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import VOID

DEFAULT_TOLERANCE_PX = 3


def boundary_f(prediction: np.ndarray, label: np.ndarray, num_classes: int, tolerance_px: int) -> np.ndarray:
    """Compute the boundary F-score of each class in one image.

    Args:
        prediction: uint8 (H, W), class ids 0..C-1.
        label: uint8 (H, W), class ids 0..C-1 or 255 (void).
        num_classes: C.
        tolerance_px: maximum distance between matching boundary pixels, 0 or more.

    Returns:
        float64 (C,) in 0..1; NaN for a class without a counted boundary in prediction and label.

    Raises:
        DatasetError: the shapes differ.
    """
    if prediction.shape != label.shape:
        raise DatasetError(f"expected a label of shape {prediction.shape} like the prediction, got {label.shape}")
    disc = _disc(tolerance_px)
    counted = cv2.dilate((label == VOID).view(np.uint8), disc) == 0
    predicted_edges, true_edges = _edges(prediction), _edges(label)
    scores = np.full(num_classes, np.nan)
    for class_id in range(num_classes):
        predicted = predicted_edges & (prediction == class_id)
        true = true_edges & (label == class_id)
        predicted_count = np.count_nonzero(predicted & counted)
        true_count = np.count_nonzero(true & counted)
        if predicted_count == 0 and true_count == 0:
            continue
        # Ignored boundary pixels do not count, but they may match counted ones.
        precision = np.count_nonzero(_near(true, disc) & predicted & counted) / max(predicted_count, 1)
        recall = np.count_nonzero(_near(predicted, disc) & true & counted) / max(true_count, 1)
        scores[class_id] = 2 * precision * recall / (precision + recall) if precision and recall else 0.0
    return scores


class BoundaryScore:
    """Accumulates ``boundary_f`` over images.

    Args:
        num_classes: C.
        tolerance_px: maximum distance between matching boundary pixels, 0 or more.
    """

    def __init__(self, num_classes: int, tolerance_px: int = DEFAULT_TOLERANCE_PX):
        if tolerance_px < 0:
            raise ValueError(f"expected a tolerance of 0 pixels or more, got {tolerance_px}")
        self.tolerance_px = tolerance_px
        self._sums = np.zeros(num_classes)
        self._images = np.zeros(num_classes, dtype=np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Add one image. For arguments and errors, see ``boundary_f``."""
        scores = boundary_f(prediction, label, len(self._sums), self.tolerance_px)
        defined = ~np.isnan(scores)
        self._sums[defined] += scores[defined]
        self._images += defined

    @property
    def images_per_class(self) -> np.ndarray:
        """Number of images in which each class has a boundary, int64 (C,)."""
        return self._images.copy()

    @property
    def per_class(self) -> np.ndarray:
        """Mean score of each class, float64 (C,) in 0..1; NaN for a class without a boundary in any image."""
        return np.divide(self._sums, self._images, out=np.full(len(self._sums), np.nan), where=self._images > 0)

    @property
    def mean(self) -> float:
        """Mean over the classes with a boundary; NaN if there are none."""
        scores = self.per_class
        defined = scores[~np.isnan(scores)]
        return float(defined.mean()) if defined.size else float("nan")


def _edges(ids: np.ndarray) -> np.ndarray:
    """Return bool (H, W): pixels with a 4-neighbour of another class, where neither is void."""
    edges = np.zeros(ids.shape, dtype=bool)
    for one, other, here, there in (
        (ids[1:], ids[:-1], edges[1:], edges[:-1]),
        (ids[:, 1:], ids[:, :-1], edges[:, 1:], edges[:, :-1]),
    ):
        differ = (one != other) & (one != VOID) & (other != VOID)
        here |= differ
        there |= differ
    return edges


def _disc(radius: int) -> np.ndarray:
    """Return uint8 (2r + 1, 2r + 1), 1 where the distance to the centre is at most ``radius``."""
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


def _near(pixels: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """Return bool (H, W): ``pixels`` dilated with ``disc``."""
    return cv2.dilate(pixels.view(np.uint8), disc).view(bool)
