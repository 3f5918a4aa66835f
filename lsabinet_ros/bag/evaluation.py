"""Evaluate a segmenter on the frames of bags, with the evaluation loop of ``lsabinet evaluate``."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.evaluate import evaluate_samples
from lsabinet_core.evaluation.report import Report
from lsabinet_ros.bag.agreement import SecondSegmenter
from lsabinet_ros.bag.frame_results import Block, FrameCollector, FrameResult, OnFrame, SpanCounts
from lsabinet_ros.bag.read_ahead import read_ahead
from lsabinet_ros.bag.samples import BagSample, FrameSource
from lsabinet_ros.bag.spans import Span

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmenter


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
        spans: the spans of the evaluation.
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
        """Descriptions of what could not be read from the bags."""
        return list(dict.fromkeys(loss for source in self.sources for loss in source.bag.losses))

    def check_labels(self) -> None:
        """Raise BagError if a source has labels and none of them could be used."""
        for source in self.sources:
            if source.labels is not None and source.labels_skipped and not source.labels_used:
                raise BagError(
                    f"none of {source.labels_skipped} labels on {source.labels.source} could be used, the first: "
                    f"{source.first_label_problem}"
                )


def evaluate_bags(
    segmenter: "Segmenter",
    sources: Sequence[FrameSource],
    *,
    boundary_tolerance_px: int | None = None,
    calibration: bool = False,
    temporal: bool = False,
    against: "Segmenter | None" = None,
    spans: Sequence[Span] = (),
    on_frame: OnFrame | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BagEvaluation:
    """Segment the frames of all sources one by one, and compare them with their labels.

    Frames are read and decoded in another thread while the network runs. Memory does not depend on the size of the
    bags, except for a few hundred bytes per frame.

    Args:
        segmenter: the Segmenter as it would run on the vehicle.
        sources: image topics with their labels.
        boundary_tolerance_px: tolerance of the boundary F-score; None to skip it.
        calibration: whether to compute confidences, and calibration where there are labels.
        temporal: whether to measure temporal consistency, which computes optical flow between the frames.
        against: a second segmenter, which segments every frame as well, after the first one.
        spans: parts of the drives that the report describes one by one.
        on_frame: see ``OnFrame``.
        progress: called with the number of finished frames and of all frames.

    Raises:
        BagError: no label belongs to a frame, no frame can be segmented, or the second segmenter has other classes.
    """
    second = None if against is None else SecondSegmenter(against, segmenter.label_set)
    for source in sources:
        source.match_labels()
    total = sum(source.total for source in sources)
    collector = FrameCollector(sources, len(segmenter.label_set), temporal, second, spans, on_frame)
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


def _details(sources: Sequence[FrameSource]) -> dict:
    bags = list(dict.fromkeys(str(source.bag.path) for source in sources))
    return {"bags": bags, "image_topics": list(dict.fromkeys(source.topic for source in sources))}


def _warmed(segmenters: Sequence["Segmenter"], samples: Iterator[BagSample]) -> Iterator[BagSample]:
    """Warm the segmenters up for each new size: their first frames are slow and would distort p99."""
    sizes: set[tuple[int, int]] = set()
    for sample in samples:
        size = sample.image.shape[:2]
        if size not in sizes:
            for segmenter in segmenters:
                segmenter.warm_up(size)
            sizes.add(size)
        yield sample
