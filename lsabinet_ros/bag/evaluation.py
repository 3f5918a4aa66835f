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
from lsabinet_ros.bag.read_ahead import read_ahead
from lsabinet_ros.bag.samples import BagSample, FrameSource

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


@dataclass
class Block:
    """Up to ``BLOCK_FRAMES`` labelled frames of one source in a row. Frames in a row are alike, so the uncertainty of a
    metric is estimated over blocks.

    Attributes:
        source: where the frames come from.
        confusion: pixel counts of the frames.
        frames: number of frames.
    """

    source: FrameSource
    confusion: ConfusionMatrix
    frames: int = 0


@dataclass
class BagEvaluation:
    """Result of the evaluation of bags.

    Attributes:
        report: metrics over all frames of all bags.
        sources: the image topics that were evaluated.
        frames: the result of each frame, by source, in the order of the bags.
        blocks: the labelled frames by blocks.
        consistency: pixel counts of the temporal consistency over all topics; None if not measured.
        seconds: duration of the evaluation.
    """

    report: Report
    sources: Sequence[FrameSource]
    frames: list[FrameResult] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    consistency: ConfusionMatrix | None = None
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


def evaluate_bags(
    segmenter: Segmenter,
    sources: Sequence[FrameSource],
    *,
    boundary_tolerance_px: int | None = None,
    calibration: bool = False,
    temporal: bool = False,
    on_frame: Callable[[BagSample, Segmentation, FrameResult], None] | None = None,
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
        on_frame: called with each frame, its segmentation, and what is kept of it.
        progress: called with the number of frames done and in all.

    Raises:
        BagError: labels of which none belongs to a frame, or no frame that can be segmented.
    """
    for source in sources:
        source.match_labels()
    total = sum(source.total for source in sources)
    classes = len(segmenter.label_set)
    frames: list[FrameResult] = []
    blocks: list[Block] = []
    previous: dict[int, np.ndarray] = {}
    trackers = {id(source): TemporalConsistency(classes) for source in sources} if temporal else {}
    started = time.perf_counter()

    def keep(sample: BagSample, result: Segmentation, counts: np.ndarray | None) -> None:
        before = previous.get(id(sample.source))
        comparable = before is not None and before.shape == result.mask.shape
        previous[id(sample.source)] = result.mask
        tracker = trackers.get(id(sample.source))
        areas = np.bincount(result.mask.reshape(-1), minlength=classes)
        alone = ConfusionMatrix(classes)
        if counts is not None:
            alone.matrix += counts
            if not blocks or blocks[-1].source is not sample.source or blocks[-1].frames == BLOCK_FRAMES:
                blocks.append(Block(sample.source, ConfusionMatrix(classes)))
            blocks[-1].confusion.matrix += counts
            blocks[-1].frames += 1
        frames.append(
            FrameResult(
                source=sample.source,
                stamp_ns=sample.stamp_ns,
                bag_time_ns=sample.bag_time_ns,
                label_offset_ns=sample.label_offset_ns,
                miou=alone.miou if alone.matrix.any() else None,
                pixel_accuracy=alone.pixel_accuracy if alone.matrix.any() else None,
                class_share=(areas / result.mask.size).astype(np.float32),
                flicker=float(np.count_nonzero(before != result.mask)) / result.mask.size if comparable else None,
                consistency=None if tracker is None else tracker.update(sample.image, result.mask),
                confidence=None if result.confidence is None else float(result.confidence.mean()) / 255,
                timings=result.timings,
            )
        )
        if on_frame is not None:
            on_frame(sample, result, frames[-1])

    report = evaluate_samples(
        segmenter,
        _warmed(segmenter, read_ahead(sample for source in sources for sample in source)),
        details=_details(sources),
        boundary_tolerance_px=boundary_tolerance_px,
        calibration=calibration,
        unlabelled=True,
        on_result=keep,
        progress=progress and (lambda done: progress(done + sum(source.skipped for source in sources), total)),
    )
    if not frames:
        topics = ", ".join(f"{source.topic} in {source.bag.path}" for source in sources)
        skipped = sum(source.skipped for source in sources)
        raise BagError(f"no frame on {topics} could be segmented ({skipped} messages were skipped)")
    consistency = None
    if temporal:
        consistency = ConfusionMatrix(classes)
        for tracker in trackers.values():
            consistency.matrix += tracker.confusion.matrix
    return BagEvaluation(report, sources, frames, blocks, consistency, time.perf_counter() - started)


def _details(sources: Sequence[FrameSource]) -> dict:
    bags = list(dict.fromkeys(str(source.bag.path) for source in sources))
    return {"bags": bags, "image_topics": list(dict.fromkeys(source.topic for source in sources))}


def _warmed(segmenter: Segmenter, samples: Iterator[BagSample]) -> Iterator[BagSample]:
    """Warm the segmenter up for each new size: its first frames are slow and would distort p99."""
    sizes: set[tuple[int, int]] = set()
    for sample in samples:
        size = sample.image.shape[:2]
        if size not in sizes:
            segmenter.warm_up(size)
            sizes.add(size)
        yield sample
