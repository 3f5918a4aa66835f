"""Confusion matrix of a whole data set, and the metrics computed from it.

The IoU of a class is TP / (TP + FP + FN), undefined only if that sum is 0. mIoU is the mean over the classes with a
defined IoU, so a class that is present but never predicted counts as 0 (as in cityscapesScripts). Void ground truth is
ignored.
"""

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import VOID


def confusion_counts(prediction: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class), ignoring void ground truth.

    Args:
        prediction: integer class ids 0..C-1, any shape.
        label: integer class ids 0..C-1 or 255 (void), of the same shape.

    Returns:
        int64 (C, C), ``[true, predicted]``.

    Raises:
        DatasetError: the shapes differ, or the label contains an id that is neither a class nor void.
        ValueError: the prediction contains an id that is not a class.
    """
    if prediction.shape != label.shape:
        raise DatasetError(f"expected a label of shape {prediction.shape} like the prediction, got {label.shape}")
    known = label != VOID
    true, predicted = label[known], prediction[known]
    if true.size == 0:
        return np.zeros((num_classes, num_classes), dtype=np.int64)
    if true.min() < 0 or true.max() >= num_classes:
        wrong = true.max() if true.max() >= num_classes else true.min()
        raise DatasetError(f"expected label ids 0..{num_classes - 1} or {VOID} (void), got {wrong}")
    if predicted.min() < 0 or predicted.max() >= num_classes:
        raise ValueError(f"expected predicted ids 0..{num_classes - 1}, got {predicted.min()}..{predicted.max()}")
    pairs = true.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64, copy=False)


class ConfusionMatrix:
    """Accumulates ``confusion_counts`` over images.

    Attributes:
        matrix: int64 (C, C), ``[true, predicted]`` pixel counts so far.
    """

    def __init__(self, num_classes: int):
        if num_classes < 1:
            raise ValueError(f"expected at least one class, got {num_classes}")
        self.matrix = np.zeros((num_classes, num_classes), dtype=np.int64)

    @property
    def num_classes(self) -> int:
        return len(self.matrix)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Add one image. For arguments and errors, see ``confusion_counts``."""
        self.matrix += confusion_counts(prediction, label, self.num_classes)

    @property
    def support(self) -> np.ndarray:
        """Number of labelled pixels of each class, int64 (C,)."""
        return self.matrix.sum(axis=1)

    @property
    def iou_per_class(self) -> np.ndarray:
        """IoU of each class, float64 (C,) in 0..1; NaN for a class in neither labels nor predictions."""
        hits = self.matrix.diagonal()
        union = self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - hits
        return _ratio(hits, union)

    @property
    def miou(self) -> float:
        """Mean of the defined IoUs; NaN before the first labelled pixel."""
        iou = self.iou_per_class
        return _mean(iou[~np.isnan(iou)])

    @property
    def miou_paper_rule(self) -> float:
        """Mean over the classes with at least one true positive, the LSA-BiNet paper's rule; never below ``miou``."""
        iou = self.iou_per_class
        return _mean(iou[self.matrix.diagonal() > 0])

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of labelled pixels predicted correctly; NaN before the first labelled pixel."""
        total = self.matrix.sum()
        return float(self.matrix.trace() / total) if total else float("nan")

    @property
    def accuracy_per_class(self) -> np.ndarray:
        """Recall of each class, float64 (C,) in 0..1; NaN for a class without labelled pixels."""
        return _ratio(self.matrix.diagonal(), self.support)

    @property
    def precision_per_class(self) -> np.ndarray:
        """Precision of each class, float64 (C,) in 0..1; NaN for a class that is never predicted."""
        return _ratio(self.matrix.diagonal(), self.matrix.sum(axis=0))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean accuracy over the classes with labelled pixels; NaN before the first labelled pixel."""
        accuracy = self.accuracy_per_class
        return _mean(accuracy[~np.isnan(accuracy)])

    @property
    def normalised(self) -> np.ndarray:
        """Matrix with every row divided by its support, float64 (C, C); NaN rows for classes without labels."""
        return _ratio(self.matrix, np.broadcast_to(self.support[:, None], self.matrix.shape))


def _ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)


def _mean(values: np.ndarray) -> float:
    # Summed from left to right like cityscapesScripts: numpy's pairwise summation differs in the last digit.
    return float(np.add.accumulate(values)[-1] / values.size) if values.size else float("nan")
