"""Boundary F-score: how well the outlines of the classes fit, whatever their area.

Per image and class (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013),
precision is the share of predicted boundary pixels with a true one within the tolerance, recall the reverse, F their
harmonic mean. As in DAVIS (Perazzi et al., CVPR 2016) distances are Euclidean, the tolerance is included, and a class
with a boundary in only one of the two scores 0. A class's score is its mean over the images where it has a boundary in
either.

A boundary pixel is one of the class with a neighbour (above, below, left, right) of another class; the image's border
and void make none. Pixels within the tolerance of void are not counted: what is right there is unknown.
"""

import cv2
import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import VOID

DEFAULT_TOLERANCE_PX = 3


def boundary_f(prediction: np.ndarray, label: np.ndarray, num_classes: int, tolerance_px: int) -> np.ndarray:
    """Boundary F-score of each class in one image.

    Args:
        prediction: uint8 (H, W), class ids 0..C-1.
        label: uint8 (H, W), class ids 0..C-1 or 255 (void).
        num_classes: C.
        tolerance_px: largest distance at which two boundary pixels match, 0 or more.

    Returns:
        float64 (C,) in 0..1; NaN where the class has no counted boundary in either.

    Raises:
        DatasetError: sizes differ.
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
        # Matches are looked for among all boundary pixels: one that is not counted itself can still be near enough.
        precision = np.count_nonzero(_near(true, disc) & predicted & counted) / max(predicted_count, 1)
        recall = np.count_nonzero(_near(predicted, disc) & true & counted) / max(true_count, 1)
        scores[class_id] = 2 * precision * recall / (precision + recall) if precision and recall else 0.0
    return scores


class BoundaryScore:
    """Accumulates ``boundary_f`` over images.

    Args:
        num_classes: C.
        tolerance_px: as ``boundary_f``.
    """

    def __init__(self, num_classes: int, tolerance_px: int = DEFAULT_TOLERANCE_PX):
        if tolerance_px < 0:
            raise ValueError(f"expected a tolerance of 0 pixels or more, got {tolerance_px}")
        self.tolerance_px = tolerance_px
        self._sums = np.zeros(num_classes)
        self._images = np.zeros(num_classes, dtype=np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Add one image; arguments and errors as ``boundary_f``."""
        scores = boundary_f(prediction, label, len(self._sums), self.tolerance_px)
        defined = ~np.isnan(scores)
        self._sums[defined] += scores[defined]
        self._images += defined

    @property
    def images_per_class(self) -> np.ndarray:
        """int64 (C,): images where the class has a boundary."""
        return self._images.copy()

    @property
    def per_class(self) -> np.ndarray:
        """float64 (C,) in 0..1; NaN for a class without a boundary in any image."""
        return np.divide(self._sums, self._images, out=np.full(len(self._sums), np.nan), where=self._images > 0)

    @property
    def mean(self) -> float:
        """Mean over the classes with a boundary; NaN without any."""
        scores = self.per_class
        defined = scores[~np.isnan(scores)]
        return float(defined.mean()) if defined.size else float("nan")


def _edges(ids: np.ndarray) -> np.ndarray:
    """bool (H, W): pixels with a neighbour of another class; neither may be void."""
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
    """uint8 (2r + 1, 2r + 1), 1 where the distance to the centre is at most ``radius``."""
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)


def _near(pixels: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """bool (H, W): where a true pixel lies under the disc."""
    return cv2.dilate(pixels.view(np.uint8), disc).view(bool)
