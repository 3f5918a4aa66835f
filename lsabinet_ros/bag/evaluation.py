"""Evaluate a segmenter on the frames of bags, with the evaluation loop of ``lsabinet evaluate``."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.evaluate import evaluate_samples
from lsabinet_core.evaluation.report import Report
from lsabinet_core.evaluation.temporal import TemporalConsistency
from lsabinet_core.inference import Segmentation, Segmenter, Timings
from lsabinet_ros.bag.agreement import Agreement, FrameAgreement, SecondSegmenter
from lsabinet_ros.bag.memory import resident_mib
from lsabinet_ros.bag.read_ahead import read_ahead
from lsabinet_ros.bag.samples import BagSample, FrameSource
from lsabinet_ros.bag.spans import Span, names_of, spans_at

BLOCK_FRAMES = 10


@dataclass(frozen=True)
class FrameResult:
    """What is kept of each frame.

    Attributes:
        source: where the frame comes from.
        stamp_ns: its header's stamp.
        bag_time_ns: when it was recorded.
        label_offset_ns: the label's stamp minus the frame's; None without a label.
        miou: mIoU of this frame alone; None without labelled pixels.
        pixel_accuracy: share of the labelled pixels that are right; None without labelled pixels.
        class_share: float32 (C,), the share of each class in the mask.
        flicker: share of the pixels whose class differs from that in the previous frame of the topic; None for the
            first frame and after a change of size.
        consistency: temporal consistency with the previous frame of the topic, in 0..1; None if not measured, and
            where there is nothing to compare with.
        confidence: mean confidence in 0..1; None if not computed.
        timings: duration of each step.
        agreement: how the mask of the second segmenter compares; None without one.
        spans: names of the spans that contain it.
        memory_mib: memory of the process after it; None where the system does not tell.
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
    timings: Timings
    agreement: FrameAgreement | None = None
    spans: tuple[str, ...] = ()
    memory_mib: float | None = None


@dataclass
class Block:
    """Up to ``BLOCK_FRAMES`` labelled frames in a row, of one source and in the same spans. Frames in a row are alike,
    so the uncertainty of a metric is estimated over blocks.

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
    """Pixel counts of the frames in a span that blocks do not have.

    Attributes:
        consistency: of the temporal consistency; a frame is compared with the one before, wherever that is.
        agreement: with the second segmenter.
    """

    consistency: ConfusionMatrix
    agreement: Agreement


@dataclass
class BagEvaluation:
    """Result of the evaluation of bags.

    Attributes:
        report: metrics over all frames of all bags.
        sources: the image topics that were evaluated.
        frames: the result of each frame, by source, in the order of the bags.
        blocks: the labelled frames by blocks.
        consistency: pixel counts of the temporal consistency over all topics; None if not measured.
        second: the second segmenter after all frames; None without one.
        spans: the spans that the frames were divided by.
        span_counts: further counts of each span, by its name.
        seconds: duration of the evaluation.
    """

    report: Report
    sources: Sequence[FrameSource]
    frames: list[FrameResult] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    consistency: ConfusionMatrix | None = None
    second: SecondSegmenter | None = None
    spans: Sequence[Span] = ()
    span_counts: dict[str, SpanCounts] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def lost(self) -> list[str]:
        """Descriptions of what could not be read of the bags."""
        return list(dict.fromkeys(loss for source in self.sources for loss in source.bag.losses))

    def check_labels(self) -> None:
        """Raise BagError if a source has labels and none of them could be used."""
        for source in self.sources:
            if source.labels is not None and source.labels_skipped and not source.labels_used:
                raise BagError(
                    f"none of {source.labels_skipped} labels on {source.labels.source} could be used, the first: "
                    f"{source.first_label_problem}"
                )


OnFrame = Callable[[BagSample, Segmentation, FrameResult, Segmentation | None], None]
"""Called with each frame, its segmentation, what is kept of it, and its segmentation by the second segmenter, if any"""


def evaluate_bags(
    segmenter: Segmenter,
    sources: Sequence[FrameSource],
    *,
    boundary_tolerance_px: int | None = None,
    calibration: bool = False,
    temporal: bool = False,
    against: Segmenter | None = None,
    spans: Sequence[Span] = (),
    on_frame: OnFrame | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BagEvaluation:
    """Segment the frames of all sources one by one; those that have a label are compared with it.

    Frames are read and decoded in another thread while the network runs. Memory does not depend on the size of the
    frames' files; a few hundred bytes are kept of each frame.

    Args:
        segmenter: the Segmenter as it would run on the vehicle.
        sources: image topics with their labels.
        boundary_tolerance_px: tolerance of the boundary F-score; None to skip it.
        calibration: whether to compute confidences, and calibration where there are labels.
        temporal: whether to measure temporal consistency, which computes optical flow between the frames.
        against: a second segmenter, which segments every frame as well, after the first one.
        spans: parts of the drives that the report describes one by one.
        on_frame: see ``OnFrame``.
        progress: called with the number of frames done and in all.

    Raises:
        BagError: labels of which none belongs to a frame, no frame that can be segmented, or a second segmenter with
            other classes.
    """
    second = None if against is None else SecondSegmenter(against, segmenter.label_set)
    for source in sources:
        source.match_labels()
    total = sum(source.total for source in sources)
    collector = _Collector(sources, len(segmenter.label_set), temporal, second, spans, on_frame)
    started = time.perf_counter()
    segmenters = [segmenter] if against is None else [segmenter, against]
    report = evaluate_samples(
        segmenter,
        _warmed(segmenters, read_ahead(sample for source in sources for sample in source)),
        details=_details(sources),
        boundary_tolerance_px=boundary_tolerance_px,
        calibration=calibration,
        unlabelled=True,
        on_result=collector.keep,
        progress=progress and (lambda done: progress(done + sum(source.skipped for source in sources), total)),
    )
    if not collector.frames:
        topics = ", ".join(f"{source.topic} in {source.bag.path}" for source in sources)
        skipped = sum(source.skipped for source in sources)
        raise BagError(f"no frame on {topics} could be segmented ({skipped} messages were skipped)")
    return BagEvaluation(
        report,
        sources,
        collector.frames,
        collector.blocks,
        collector.consistency,
        second,
        spans,
        collector.span_counts,
        time.perf_counter() - started,
    )


class _Collector:
    """Keeps what a report needs of each frame.

    Attributes:
        frames, blocks, consistency, span_counts: as in ``BagEvaluation``, for the frames so far.
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

    def keep(self, sample: BagSample, result: Segmentation, counts: np.ndarray | None) -> None:
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
    ) -> tuple[Segmentation | None, FrameAgreement | None]:
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


def _details(sources: Sequence[FrameSource]) -> dict:
    bags = list(dict.fromkeys(str(source.bag.path) for source in sources))
    return {"bags": bags, "image_topics": list(dict.fromkeys(source.topic for source in sources))}


def _warmed(segmenters: Sequence[Segmenter], samples: Iterator[BagSample]) -> Iterator[BagSample]:
    """Warm the segmenters up for each new size: their first frames are slow and would distort p99."""
    sizes: set[tuple[int, int]] = set()
    for sample in samples:
        size = sample.image.shape[:2]
        if size not in sizes:
            for segmenter in segmenters:
                segmenter.warm_up(size)
            sizes.add(size)
        yield sample
