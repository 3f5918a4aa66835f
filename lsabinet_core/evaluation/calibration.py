"""Calibration: whether 80 % of the pixels predicted with a confidence of 80 % are correct.

Expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017): pixels are grouped into bins of equal
width by the probability of their predicted class; the error is the mean over all pixels of |accuracy - confidence| of
their bin. It is computed from the Segmenter's confidence, which is quantised in steps of 1/255.
"""

from dataclasses import dataclass

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import VOID

LEVELS = 256
DEFAULT_BINS = 15


@dataclass(frozen=True)
class ReliabilityBins:
    """Bins of equal width over 0..1. Each includes its lower edge; the last also includes its upper edge.

    Attributes:
        edges: float64 (B + 1,), bin edges.
        counts: int64 (B,), labelled pixels in each bin.
        confidence: float64 (B,), mean confidence of the pixels in each bin; NaN for an empty bin.
        accuracy: float64 (B,), fraction of correct pixels in each bin; NaN for an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error in 0..1; NaN if all bins are empty."""
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.average(gaps, weights=self.counts[filled]))

    @property
    def mean_confidence(self) -> float:
        """Mean confidence of all labelled pixels in 0..1; NaN if all bins are empty."""
        filled = self.counts > 0
        if not filled.any():
            return float("nan")
        return float(np.average(self.confidence[filled], weights=self.counts[filled]))


class Calibration:
    """Accumulates pixel and hit counts per confidence level over images; exact, in constant memory."""

    def __init__(self):
        self._pixels = np.zeros(LEVELS, dtype=np.int64)
        self._hits = np.zeros(LEVELS, dtype=np.int64)

    def update(self, prediction: np.ndarray, confidence: np.ndarray, label: np.ndarray) -> None:
        """Add one image.

        Args:
            prediction: integer class ids, any shape.
            confidence: uint8, ``round(255 * probability of the predicted class)``, as ``Segmentation.confidence``.
            label: class ids or 255 (void, ignored).

        Raises:
            DatasetError: the shape of the label differs from that of the prediction.
            ValueError: the confidence has another shape or is not uint8.
        """
        if prediction.shape != label.shape:
            raise DatasetError(f"expected a label of shape {prediction.shape} like the prediction, got {label.shape}")
        if confidence.dtype != np.uint8 or confidence.shape != prediction.shape:
            raise ValueError(
                f"expected confidences uint8 of shape {prediction.shape}, got {confidence.dtype} {confidence.shape}"
            )
        known = label != VOID
        levels = confidence[known]
        hits = prediction[known] == label[known]
        self._pixels += np.bincount(levels, minlength=LEVELS)
        self._hits += np.bincount(levels[hits], minlength=LEVELS)

    def bins(self, count: int = DEFAULT_BINS) -> ReliabilityBins:
        """Group all pixels so far into ``count`` bins."""
        top = LEVELS - 1
        levels = np.arange(LEVELS)
        # Integer arithmetic, because with 15 bins every edge coincides with a level.
        of_level = np.minimum(levels * count // top, count - 1)

        def collect(values: np.ndarray) -> np.ndarray:
            sums = np.zeros(count, dtype=np.int64)
            np.add.at(sums, of_level, values)
            return sums

        counts = collect(self._pixels)

        def share(sums: np.ndarray, scale: int = 1) -> np.ndarray:
            return np.divide(sums, counts * scale, out=np.full(count, np.nan), where=counts > 0)

        return ReliabilityBins(
            edges=np.linspace(0, 1, count + 1),
            counts=counts,
            confidence=share(collect(self._pixels * levels), top),
            accuracy=share(collect(self._hits)),
        )

    @property
    def ece(self) -> float:
        """Expected calibration error with 15 bins, in 0..1; NaN before the first labelled pixel."""
        return self.bins().ece
