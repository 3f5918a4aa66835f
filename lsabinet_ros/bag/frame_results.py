"""Results of the single frames of an evaluation, and the counts of blocks and spans of frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.temporal import TemporalConsistency
from lsabinet_ros.bag.agreement import Agreement, FrameAgreement, SecondSegmenter
from lsabinet_ros.bag.memory import resident_mib
from lsabinet_ros.bag.samples import BagSample, FrameSource
from lsabinet_ros.bag.spans import Span, names_of, spans_at

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmentation, Timings

BLOCK_FRAMES = 10


@dataclass(frozen=True)
class FrameResult:
    """The result of one frame.

    Attributes:
        source: where the frame comes from.
        stamp_ns: its header's stamp.
        bag_time_ns: when it was recorded.
        label_offset_ns: the label's stamp minus the frame's; None without a label.
        miou: mIoU of this frame alone; None without labelled pixels.
        pixel_accuracy: share of the labelled pixels with the right class; None without labelled pixels.
        class_share: float32 (C,), the share of each class in the mask.
        flicker: share of the pixels whose class differs from that in the previous frame of the topic; None for the
            first frame and after a change of size.
        consistency: temporal consistency with the previous frame of the topic, in 0..1; None if not measured or if
            there is nothing to compare with.
        confidence: mean confidence in 0..1; None if not computed.
        timings: duration of each step.
        agreement: comparison with the mask of the second segmenter; None without one.
        spans: names of the spans that contain it.
        memory_mib: memory of the process after the frame; None if the system does not report it.
    """

    source: FrameSource
    stamp_ns: int
    bag_time_ns: int
    label_offset_ns: int | None
    miou: float | None
    pixel_accuracy: float | None
    class_share: np.ndarray
    flicker: float | None
    consistency: float | None
    confidence: float | None
    timings: "Timings"
    agreement: FrameAgreement | None = None
    spans: tuple[str, ...] = ()
    memory_mib: float | None = None


@dataclass
class Block:
    """Up to ``BLOCK_FRAMES`` consecutive labelled frames of one source and in the same spans. Consecutive frames are
    similar, so the uncertainty of a metric is estimated over blocks.

    Attributes:
        source: where the frames come from.
        spans: names of the spans that contain them.
        confusion: pixel counts of the frames.
        frames: number of frames.
    """

    source: FrameSource
    spans: tuple[str, ...]
    confusion: ConfusionMatrix
    frames: int = 0


@dataclass
class SpanCounts:
    """Pixel counts of the frames in a span that are not in blocks.

    Attributes:
        consistency: of the temporal consistency; the first frame is compared with the one before the span.
        agreement: of the agreement with the second segmenter.
    """

    consistency: ConfusionMatrix
    agreement: Agreement


OnFrame = Callable[[BagSample, "Segmentation", FrameResult, "Segmentation | None"], None]
"""Called with each frame, its segmentation, its result, and its segmentation by the second segmenter or None."""


class FrameCollector:
    """Collects the results of frames for a report.

    Attributes:
        frames, blocks, consistency, span_counts: as in ``evaluation.BagEvaluation``, for the frames so far.
    """

    def __init__(
        self,
        sources: Sequence[FrameSource],
        classes: int,
        temporal: bool,
        second: SecondSegmenter | None,
        spans: Sequence[Span],
        on_frame: OnFrame | None,
    ):
        self.frames: list[FrameResult] = []
        self.blocks: list[Block] = []
        self.span_counts = {
            name: SpanCounts(ConfusionMatrix(classes), Agreement.of_classes(classes)) for name in names_of(spans)
        }
        self._classes, self._second, self._spans, self._on_frame = classes, second, spans, on_frame
        self._previous: dict[int, np.ndarray] = {}
        self._trackers = {id(source): TemporalConsistency(classes) for source in sources} if temporal else {}

    @property
    def consistency(self) -> ConfusionMatrix | None:
        if not self._trackers:
            return None
        total = ConfusionMatrix(self._classes)
        for tracker in self._trackers.values():
            total.matrix += tracker.confusion.matrix
        return total

    def keep(self, sample: BagSample, result: "Segmentation", counts: np.ndarray | None) -> None:
        """Add a frame: its segmentation, and its confusion counts, int64 (C, C), or None without a label."""
        mask = result.mask
        spans = spans_at(self._spans, sample.bag_time_ns, sample.source.bag.start_ns or 0)
        alone = ConfusionMatrix(self._classes)
        if counts is not None:
            alone.matrix += counts
            self._add_to_block(sample.source, spans, counts)
        second, agreement = self._compare(sample, mask, spans)
        self.frames.append(
            FrameResult(
                source=sample.source,
                stamp_ns=sample.stamp_ns,
                bag_time_ns=sample.bag_time_ns,
                label_offset_ns=sample.label_offset_ns,
                miou=alone.miou if alone.matrix.any() else None,
                pixel_accuracy=alone.pixel_accuracy if alone.matrix.any() else None,
                class_share=(np.bincount(mask.reshape(-1), minlength=self._classes) / mask.size).astype(np.float32),
                flicker=self._flicker(sample.source, mask),
                consistency=self._consistency(sample, mask, spans),
                confidence=None if result.confidence is None else float(result.confidence.mean()) / 255,
                timings=result.timings,
                agreement=agreement,
                spans=spans,
                memory_mib=resident_mib(),
            )
        )
        if self._on_frame is not None:
            self._on_frame(sample, result, self.frames[-1], second)

    def _add_to_block(self, source: FrameSource, spans: tuple[str, ...], counts: np.ndarray) -> None:
        last = self.blocks[-1] if self.blocks else None
        if last is None or last.source is not source or last.spans != spans or last.frames == BLOCK_FRAMES:
            last = Block(source, spans, ConfusionMatrix(self._classes))
            self.blocks.append(last)
        last.confusion.matrix += counts
        last.frames += 1

    def _compare(
        self, sample: BagSample, mask: np.ndarray, spans: tuple[str, ...]
    ) -> tuple["Segmentation | None", FrameAgreement | None]:
        if self._second is None:
            return None, None
        second, agreement = self._second.compare(sample.image, mask, sample.label)
        for name in spans:
            self.span_counts[name].agreement.add(agreement)
        return second, FrameAgreement.of(agreement, second.timings)

    def _consistency(self, sample: BagSample, mask: np.ndarray, spans: tuple[str, ...]) -> float | None:
        tracker = self._trackers.get(id(sample.source))
        if tracker is None:
            return None
        before = tracker.confusion.matrix.copy()
        miou = tracker.update(sample.image, mask)
        for name in spans:
            self.span_counts[name].consistency.matrix += tracker.confusion.matrix - before
        return miou

    def _flicker(self, source: FrameSource, mask: np.ndarray) -> float | None:
        before = self._previous.get(id(source))
        self._previous[id(source)] = mask
        if before is None or before.shape != mask.shape:
            return None
        return float(np.count_nonzero(before != mask)) / mask.size
