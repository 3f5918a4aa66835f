"""Evaluation of a segmenter on a labelled data set."""

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from lsabinet_core.data import Sample, SegmentationDataset
from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.boundaries import BoundaryScore
from lsabinet_core.evaluation.calibration import Calibration
from lsabinet_core.evaluation.confusion import ConfusionMatrix, confusion_counts
from lsabinet_core.evaluation.latency import summarise_timings
from lsabinet_core.evaluation.origin import has_learned_from
from lsabinet_core.evaluation.report import Report
from lsabinet_core.labels import LabelSet

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmentation, Timings

AnySample = TypeVar("AnySample", bound=Sample)


class FrameSegmenter(Protocol):
    """Interface that ``evaluate`` requires: a ``Segmenter`` or a wrapper around one."""

    @property
    def label_set(self) -> LabelSet: ...

    def segment(self, frames: list[np.ndarray], *, confidence: bool) -> list["Segmentation"]: ...

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]: ...

    def describe(self) -> dict: ...


def check_label_sets(weights: LabelSet, dataset: LabelSet) -> None:
    """Raise DatasetError unless both have the same classes in the same order."""
    if weights.names != dataset.names:
        raise DatasetError(
            f"expected a data set with the classes of the weights, {weights.name} ({len(weights)} classes), "
            f"got {dataset.name} ({len(dataset)} classes): choose weights trained on {dataset.name}"
        )


def evaluate(
    segmenter: FrameSegmenter,
    dataset: SegmentationDataset,
    *,
    limit: int | None = None,
    batch_size: int = 1,
    boundary_tolerance_px: int | None = None,
    calibration: bool = False,
    on_result: Callable[[Sample, "Segmentation"], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Segment the images of ``dataset`` and compare the masks with their labels at the original image size.

    Args:
        segmenter: the segmenter to evaluate; its timings are part of the report.
        dataset: a ``SegmentationDataset``; samples without a label are not counted.
        limit: number of samples to evaluate, from the first one; None for all.
        batch_size: number of images per batch; use 1 to measure the latency of single frames.
        boundary_tolerance_px: tolerance of the boundary F-score; None to skip it.
        calibration: whether to measure calibration; this makes postprocessing compute a confidence for every pixel.
        on_result: called with each sample and its result. If given, samples without a label are also segmented, and a
            data set without any labels gives a report with 0 images instead of an error.
        progress: called with (samples done, total samples) after each batch.

    Raises:
        DatasetError: the classes differ from the network's, no image has a label, or a label does not fit its image.
    """
    check_label_sets(segmenter.label_set, dataset.label_set)
    total = len(dataset) if limit is None else min(limit, len(dataset))
    report = evaluate_samples(
        segmenter,
        map(dataset.sample, range(total)),
        details={"dataset": dataset.name, "split": dataset.split, "limit": limit},
        batch_size=batch_size,
        boundary_tolerance_px=boundary_tolerance_px,
        calibration=calibration,
        unlabelled=on_result is not None,
        on_result=on_result and (lambda sample, result, counts: on_result(sample, result)),
        progress=progress and (lambda done: progress(done, total)),
    )
    if report.images == 0 and on_result is None:
        raise DatasetError(f"expected labelled images in {dataset.name} {dataset.split}, got none")
    report.details["seen_in_training"] = has_learned_from(
        report.details.get("trained_on", ""), dataset.name, dataset.split
    )
    return report


def evaluate_samples(
    segmenter: FrameSegmenter,
    samples: Iterable[AnySample],
    *,
    details: dict,
    batch_size: int = 1,
    boundary_tolerance_px: int | None = None,
    calibration: bool = False,
    unlabelled: bool = False,
    on_result: Callable[[AnySample, "Segmentation", np.ndarray | None], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Segment samples in batches and compare the masks with their labels, if they have any.

    Memory does not grow with the number of samples.

    Args:
        segmenter: the segmenter to evaluate; its timings are part of the report.
        samples: images, and labels with the classes of the segmenter.
        details: origin of the samples, as JSON values for ``Report.details``.
        batch_size: as for ``evaluate``.
        boundary_tolerance_px: as for ``evaluate``.
        calibration: as for ``evaluate``.
        unlabelled: whether to segment samples without a label as well.
        on_result: called with each sample, its result, and the sample's confusion counts, int64 (C, C), or None.
        progress: called with the number of samples done after each batch.

    Raises:
        DatasetError: a label does not fit its image.
    """
    classes = len(segmenter.label_set)
    confusion = ConfusionMatrix(classes)
    boundaries = None if boundary_tolerance_px is None else BoundaryScore(classes, boundary_tolerance_px)
    reliability = Calibration() if calibration else None
    timings: list[Timings] = []
    sizes: set[tuple[int, int]] = set()
    labelled = done = 0
    stream = iter(samples)
    while batch := list(itertools.islice(stream, batch_size)):
        done += len(batch)
        batch = [sample for sample in batch if unlabelled or sample.label is not None]
        results = segmenter.segment([sample.image for sample in batch], confidence=calibration)
        for sample, result in zip(batch, results, strict=True):
            timings.append(result.timings)
            sizes.add(result.mask.shape)
            counts = None
            if sample.label is not None:
                try:
                    counts = confusion_counts(result.mask, sample.label, classes)
                except DatasetError as error:
                    raise DatasetError(f"{sample.name}: {error}") from None
                confusion.matrix += counts
                if boundaries is not None:
                    boundaries.update(result.mask, sample.label)
                if reliability is not None:
                    assert result.confidence is not None, "it was requested"
                    reliability.update(result.mask, result.confidence, sample.label)
                labelled += 1
            if on_result is not None:
                on_result(sample, result, counts)
        if progress is not None:
            progress(done)
    details = {
        **details,
        "image_sizes": [list(size) for size in sorted(sizes)],
        "network_sizes": [list(size) for size in sorted({segmenter.network_size(size) for size in sizes})],
        **segmenter.describe(),
    }
    return Report(
        segmenter.label_set, confusion, labelled, summarise_timings(timings), details, boundaries, reliability
    )
