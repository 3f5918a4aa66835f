"""Run a segmenter over a labelled data set and count."""

from collections.abc import Callable

from lsabinet_core.errors import DatasetError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import summarise_timings
from lsabinet_core.evaluation.report import Report
from lsabinet_core.inference import Segmenter, Timings
from lsabinet_core.labels import LabelSet


def check_label_sets(weights: LabelSet, dataset: LabelSet) -> None:
    """Raise DatasetError unless both mean the same classes by the same ids."""
    if weights.names != dataset.names:
        raise DatasetError(
            f"expected a data set with the classes of the weights, {weights.name} ({len(weights)} classes), "
            f"got {dataset.name} ({len(dataset)} classes): choose weights trained on {dataset.name}"
        )


def evaluate(
    segmenter: Segmenter,
    dataset,
    *,
    limit: int | None = None,
    batch_size: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Segment the images of ``dataset`` one by one and compare with their labels at the images' own size.

    Args:
        segmenter: what the vehicle would run; its timings go into the report.
        dataset: a ``SegmentationDataset``; samples without a label are not counted.
        limit: only the first so many samples.
        batch_size: images that go through the network together; 1 gives the latency of single frames.
        progress: called with (samples done, samples in all) after each batch.

    Raises:
        DatasetError: other classes than the network's, no labelled image, or a label that does not fit its image.
    """
    check_label_sets(segmenter.label_set, dataset.label_set)
    total = len(dataset) if limit is None else min(limit, len(dataset))
    confusion = ConfusionMatrix(len(segmenter.label_set))
    timings: list[Timings] = []
    sizes: set[tuple[int, int]] = set()
    for start in range(0, total, batch_size):
        indices = range(start, min(start + batch_size, total))
        samples = [sample for sample in map(dataset.sample, indices) if sample.label is not None]
        results = segmenter.segment([sample.image for sample in samples], confidence=False)
        for sample, result in zip(samples, results, strict=True):
            try:
                confusion.update(result.mask, sample.label)
            except DatasetError as error:
                raise DatasetError(f"{sample.name}: {error}") from None
            timings.append(result.timings)
            sizes.add(result.mask.shape)
        if progress is not None:
            progress(indices.stop, total)
    if not timings:
        raise DatasetError(f"expected labelled images in {dataset.name} {dataset.split}, got none")
    details = {
        "dataset": dataset.name,
        "split": dataset.split,
        "image_sizes": [list(size) for size in sorted(sizes)],
        "network_sizes": [list(size) for size in sorted({segmenter.network_size(size) for size in sizes})],
        **segmenter.describe(),
    }
    return Report(segmenter.label_set, confusion, len(timings), summarise_timings(timings), details)
