"""Segment the frames with a second segmenter as well, and count the pixels where its masks agree with the first's."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix, confusion_counts
from lsabinet_core.evaluation.latency import summarise_timings
from lsabinet_core.evaluation.report import Report
from lsabinet_core.labels import LabelSet

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmentation, Segmenter, Timings


@dataclass(frozen=True)
class FrameAgreement:
    """Comparison of the two masks of one frame.

    Attributes:
        pixels: share of the pixels that have the same class in both masks, 0..1.
        miou: mIoU of the second mask with the first one in place of the label, 0..1.
        label_miou: mIoU of the second mask with the label; None without labelled pixels.
        timings: duration of each step of the second segmenter.
    """

    pixels: float
    miou: float
    label_miou: float | None
    timings: "Timings"

    @classmethod
    def of(cls, agreement: "Agreement", timings: "Timings") -> "FrameAgreement":
        """The figures of an agreement over one frame."""
        masks, labels = agreement.masks, agreement.labels
        return cls(masks.pixel_accuracy, masks.miou, labels.miou if labels.matrix.any() else None, timings)


@dataclass
class Agreement:
    """Comparison of the two masks over many frames.

    Attributes:
        masks: pixel counts, ``[class in the first mask][class in the second mask]``.
        labels: pixel counts, ``[true class][class in the second mask]``.
        frames, labelled: number of frames, and of those with a label.
        identical: number of frames whose masks are the same, pixel by pixel.
    """

    masks: ConfusionMatrix
    labels: ConfusionMatrix
    frames: int = 0
    labelled: int = 0
    identical: int = 0

    @classmethod
    def of_classes(cls, classes: int) -> "Agreement":
        """An agreement for a number of classes, without frames."""
        return cls(ConfusionMatrix(classes), ConfusionMatrix(classes))

    def add(self, other: "Agreement") -> None:
        """Add the counts of other frames."""
        self.masks.matrix += other.masks.matrix
        self.labels.matrix += other.labels.matrix
        self.frames += other.frames
        self.labelled += other.labelled
        self.identical += other.identical

    @property
    def pixels(self) -> float | None:
        """Share of the pixels that have the same class in both masks, 0..1; None without frames."""
        return self.masks.pixel_accuracy if self.frames else None

    def to_dict(self, label_set: LabelSet) -> dict:
        """The field ``agreement`` of the report."""
        iou = self.masks.iou_per_class.tolist()
        return {
            "pixels": self.pixels,
            "miou": self.masks.miou if self.frames else None,
            "per_class_iou": {name: None if np.isnan(x) else x for name, x in zip(label_set.names, iou)},
            "frames": self.frames,
            "identical_frames": self.identical,
            "confusion_matrix": self.masks.matrix.tolist(),
        }


@dataclass
class SecondSegmenter:
    """A segmenter that the first one is compared with.

    Args:
        segmenter: has the same classes as the first one.
        label_set: the classes of the first one.

    Attributes:
        total: how the masks compare over all frames so far.

    Raises:
        BagError: the classes differ.
    """

    segmenter: "Segmenter"
    label_set: LabelSet
    total: Agreement = field(init=False)
    _timings: list["Timings"] = field(default_factory=list)
    _network_sizes: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self):
        if self.segmenter.label_set.names != self.label_set.names:
            raise BagError(
                f"expected a second network with the classes of the first one, {self.label_set.name} "
                f"({len(self.label_set)} classes), got {self.segmenter.label_set.name} "
                f"({len(self.segmenter.label_set)} classes)"
            )
        self.total = Agreement.of_classes(len(self.label_set))

    def compare(
        self, image: np.ndarray, mask: np.ndarray, label: np.ndarray | None
    ) -> tuple["Segmentation", Agreement]:
        """Segment a frame and compare; returns its second segmentation, and how it agrees with the first.

        Args:
            image: BGR, uint8 (H, W, 3).
            mask: the first mask, uint8 (H, W).
            label: class ids, uint8 (H, W), 255 = void; None without a label.
        """
        second = self.segmenter.segment(image, confidence=False)
        classes = len(self.label_set)
        found = Agreement.of_classes(classes)
        found.masks.matrix += confusion_counts(second.mask, mask, classes)
        if label is not None:
            found.labels.matrix += confusion_counts(second.mask, label, classes)
            found.labelled = 1
        found.frames = 1
        found.identical = int(np.array_equal(second.mask, mask))
        self.total.add(found)
        self._timings.append(second.timings)
        self._network_sizes.add(self.segmenter.network_size(second.mask.shape))
        return second, found

    def report(self) -> Report:
        """The second segmenter's own metrics and latency."""
        details = {
            "network_sizes": [list(size) for size in sorted(self._network_sizes)],
            **self.segmenter.describe(),
        }
        return Report(self.label_set, self.total.labels, self.total.labelled, summarise_timings(self._timings), details)
