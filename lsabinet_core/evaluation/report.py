"""Result of an evaluation; ``formats`` turns it into text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from lsabinet_core.evaluation.boundaries import BoundaryScore
from lsabinet_core.evaluation.calibration import Calibration
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.labels import LabelSet

SHARE_DIGITS = 6


@dataclass(frozen=True)
class Report:
    """Result of one evaluation.

    Attributes:
        label_set: the classes.
        confusion: pixel counts over all images.
        images: number of labelled images.
        latency_ms: ``{stage: {"p50", "p95", "p99", "max", "mean", "count"}}``, per image.
        details: origin of the metrics (weights, data set, split, sizes, device...), as JSON values.
        boundaries: boundary F-scores; None if not measured.
        calibration: confidence against accuracy; None if not measured.
    """

    label_set: LabelSet
    confusion: ConfusionMatrix
    images: int
    latency_ms: dict[str, dict] = field(default_factory=dict)
    details: dict = field(default_factory=dict)
    boundaries: BoundaryScore | None = None
    calibration: Calibration | None = None

    @property
    def miou(self) -> float:
        """Standard mIoU in 0..1; NaN without labelled pixels."""
        return self.confusion.miou

    def to_dict(self) -> dict:
        """Return the metrics as JSON values: fractions in 0..1, pixels, milliseconds; None if undefined.

        ``confusion_matrix`` contains pixel counts as ``[true][predicted]``; ``confusion_normalised`` contains the same
        as fractions of each true class. ``boundary_f`` and ``calibration`` are present only if they were measured.
        """
        confusion = self.confusion
        return {
            "miou": _or_none(confusion.miou),
            "miou_paper_rule": _or_none(confusion.miou_paper_rule),
            "pixel_accuracy": _or_none(confusion.pixel_accuracy),
            "mean_class_accuracy": _or_none(confusion.mean_class_accuracy),
            "per_class_iou": self._by_class(confusion.iou_per_class),
            "per_class_accuracy": self._by_class(confusion.accuracy_per_class),
            "per_class_precision": self._by_class(confusion.precision_per_class),
            "per_class_support": dict(zip(self.label_set.names, confusion.support.tolist(), strict=True)),
            **self._boundary_metrics(),
            **self._calibration_metrics(),
            "images": self.images,
            "label_set": self.label_set.name,
            **self.details,
            "latency_ms": self.latency_ms,
            "confusion_matrix": confusion.matrix.tolist(),
            "confusion_normalised": [
                [None if math.isnan(share) else round(share, SHARE_DIGITS) for share in row]
                for row in confusion.normalised.tolist()
            ],
        }

    def _by_class(self, values: Iterable[float]) -> dict[str, float | None]:
        return {name: _or_none(value) for name, value in zip(self.label_set.names, values, strict=True)}

    def _boundary_metrics(self) -> dict:
        if self.boundaries is None:
            return {}
        return {
            "boundary_f": {
                "tolerance_px": self.boundaries.tolerance_px,
                "mean": _or_none(self.boundaries.mean),
                "per_class": self._by_class(self.boundaries.per_class),
                "per_class_images": dict(
                    zip(self.label_set.names, self.boundaries.images_per_class.tolist(), strict=True)
                ),
            }
        }

    def _calibration_metrics(self) -> dict:
        if self.calibration is None:
            return {}
        bins = self.calibration.bins()
        edges = bins.edges.tolist()
        columns = zip(edges, edges[1:], bins.counts.tolist(), bins.confidence, bins.accuracy)
        return {
            "calibration": {
                "ece": _or_none(bins.ece),
                "mean_confidence": _or_none(bins.mean_confidence),
                "confidence_step": 1 / 255,
                "bins": [
                    {
                        "lower": lower,
                        "upper": upper,
                        "count": count,
                        "confidence": _or_none(confidence),
                        "accuracy": _or_none(accuracy),
                    }
                    for lower, upper, count, confidence, accuracy in columns
                ],
            }
        }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
