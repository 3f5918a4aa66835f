"""Run a segmenter over a labelled data set and count."""

from collections.abc import Callable
from typing import Protocol

from lsabinet_core.data import Sample
from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.boundaries import BoundaryScore
from lsabinet_core.evaluation.calibration import Calibration
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import summarise_timings
from lsabinet_core.evaluation.origin import has_learned_from
from lsabinet_core.evaluation.report import Report
from lsabinet_core.inference import Segmentation, Timings
from lsabinet_core.labels import LabelSet


class FrameSegmenter(Protocol):
    """What ``evaluate`` needs: a ``Segmenter``, or one that wraps it."""

    label_set: LabelSet

    def segment(self, frames: list, *, confidence: bool) -> list[Segmentation]: ...

    def network_size(self, frame_size: tuple[int, int]) -> tuple[int, int]: ...

    def describe(self) -> dict: ...


def check_label_sets(weights: LabelSet, dataset: LabelSet) -> None:
    """Raise DatasetError unless both mean the same classes by the same ids."""
    if weights.names != dataset.names:
        raise DatasetError(
            f"expected a data set with the classes of the weights, {weights.name} ({len(weights)} classes), "
            f"got {dataset.name} ({len(dataset)} classes): choose weights trained on {dataset.name}"
        )


def evaluate(
    segmenter: FrameSegmenter,
    dataset,
    *,
    limit: int | None = None,
    batch_size: int = 1,
    boundary_tolerance_px: int | None = None,
    calibration: bool = False,
    on_result: Callable[[Sample, Segmentation], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Segment the images of ``dataset`` one by one and compare with their labels at the images' own size.

    Args:
        segmenter: what the vehicle would run; its timings go into the report.
        dataset: a ``SegmentationDataset``; samples without a label are not counted.
        limit: only the first so many samples.
        batch_size: images that go through the network together; 1 gives the latency of single frames.
        boundary_tolerance_px: measure boundary F-scores too, at this tolerance.
        calibration: measure the calibration too; it needs every pixel's confidence, which postprocessing then computes.
        on_result: called with each sample and its result. With it, samples without a label are segmented too, and
            where none has a label the report counts 0 images.
        progress: called with (samples done, samples in all) after each batch.

    Raises:
        DatasetError: other classes than the network's, no labelled image, or a label that does not fit its image.
    """
    check_label_sets(segmenter.label_set, dataset.label_set)
    total = len(dataset) if limit is None else min(limit, len(dataset))
    classes = len(segmenter.label_set)
    confusion = ConfusionMatrix(classes)
    boundaries = None if boundary_tolerance_px is None else BoundaryScore(classes, boundary_tolerance_px)
    reliability = Calibration() if calibration else None
    timings: list[Timings] = []
    sizes: set[tuple[int, int]] = set()
    labelled = 0
    for start in range(0, total, batch_size):
        indices = range(start, min(start + batch_size, total))
        samples = [sample for sample in map(dataset.sample, indices) if on_result or sample.label is not None]
        results = segmenter.segment([sample.image for sample in samples], confidence=calibration)
        for sample, result in zip(samples, results, strict=True):
            timings.append(result.timings)
            sizes.add(result.mask.shape)
            if on_result is not None:
                on_result(sample, result)
            if sample.label is None:
                continue
            try:
                confusion.update(result.mask, sample.label)
            except DatasetError as error:
                raise DatasetError(f"{sample.name}: {error}") from None
            if boundaries is not None:
                boundaries.update(result.mask, sample.label)
            if reliability is not None:
                reliability.update(result.mask, result.confidence, sample.label)
            labelled += 1
        if progress is not None:
            progress(indices.stop, total)
    if labelled == 0 and on_result is None:
        raise DatasetError(f"expected labelled images in {dataset.name} {dataset.split}, got none")
    network = segmenter.describe()
    details = {
        "dataset": dataset.name,
        "split": dataset.split,
        "limit": limit,
        "seen_in_training": has_learned_from(network.get("trained_on", ""), dataset.name, dataset.split),
        "image_sizes": [list(size) for size in sorted(sizes)],
        "network_sizes": [list(size) for size in sorted({segmenter.network_size(size) for size in sizes})],
        **network,
    }
    latency_ms = summarise_timings(timings)
    return Report(segmenter.label_set, confusion, labelled, latency_ms, details, boundaries, reliability)
