"""What an evaluation found: figures as JSON for programs and as a table for people."""

import math
from dataclasses import dataclass, field

from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import latency_table
from lsabinet_core.labels import LabelSet


@dataclass(frozen=True)
class Report:
    """Result of one evaluation.

    Attributes:
        label_set: the classes that the matrix counts.
        confusion: pixel counts over all images.
        images: number of labelled images counted.
        latency_ms: ``{stage: {"p50", "p95", "p99", "mean", "count"}}``, per image.
        details: where the figures come from (weights, data set, split, sizes, device...); JSON values.
    """

    label_set: LabelSet
    confusion: ConfusionMatrix
    images: int
    latency_ms: dict[str, dict] = field(default_factory=dict)
    details: dict = field(default_factory=dict)

    @property
    def miou(self) -> float:
        """Standard mIoU in 0..1; NaN when no pixel was labelled."""
        return self.confusion.miou

    def to_dict(self) -> dict:
        """JSON-ready figures: fractions in 0..1, pixels, milliseconds; None where a figure is undefined."""
        confusion = self.confusion
        ious = zip(self.label_set.names, confusion.iou_per_class, strict=True)
        supports = zip(self.label_set.names, confusion.support, strict=True)
        return {
            "miou": _or_none(confusion.miou),
            "miou_paper_rule": _or_none(confusion.miou_paper_rule),
            "pixel_accuracy": _or_none(confusion.pixel_accuracy),
            "per_class_iou": {name: _or_none(iou) for name, iou in ious},
            "per_class_support": {name: int(count) for name, count in supports},
            "images": self.images,
            "label_set": self.label_set.name,
            **self.details,
            "latency_ms": self.latency_ms,
            "confusion_matrix": confusion.matrix.tolist(),
        }

    def table(self) -> str:
        """Plain text: a line per class (IoU in percent, labelled pixels and their share), the means, the latency."""
        confusion = self.confusion
        total = max(int(confusion.support.sum()), 1)
        width = max(len("pixel accuracy"), *map(len, self.label_set.names))
        lines = [f"{'class':<{width}}  {'IoU %':>7}  {'pixels':>13}  {'share %':>7}"]
        rows = zip(self.label_set.names, confusion.iou_per_class, confusion.support, strict=True)
        for name, iou, count in rows:
            lines.append(f"{name:<{width}}  {_percent(iou)}  {count:>13,}  {100 * count / total:7.2f}")
        lines += [
            "",
            f"{'mIoU':<{width}}  {_percent(confusion.miou)}",
            f"{'mIoU (paper)':<{width}}  {_percent(confusion.miou_paper_rule)}  (without classes never hit)",
            f"{'pixel accuracy':<{width}}  {_percent(confusion.pixel_accuracy)}",
            f"{'images':<{width}}  {self.images:>7}",
        ]
        if self.latency_ms:
            lines += ["", latency_table(self.latency_ms)]
        return "\n".join(lines)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _percent(fraction: float) -> str:
    return "      -" if math.isnan(fraction) else f"{100 * fraction:7.2f}"
