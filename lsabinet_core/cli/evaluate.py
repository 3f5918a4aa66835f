"""``lsabinet evaluate``: metrics of weights on a labelled split, and the submission to the Cityscapes server."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.cli.segmenter_options import (
    add_metric_arguments,
    add_segmenter_arguments,
    open_segmenter,
    positive,
)
from lsabinet_core.data import DATASETS
from lsabinet_core.errors import DatasetError, LsabinetError

if TYPE_CHECKING:
    from lsabinet_core.evaluation.report import Report
    from lsabinet_core.evaluation.submission import CityscapesSubmission

HELP = "evaluate weights on a labelled split: IoU per class, mIoU, boundary F-score, calibration, latency"

# A copy of the names in lsabinet_core.evaluation.formats, which is imported only when the verb runs.
FORMATS = ("table", "json", "csv", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", required=True, metavar="D", help=f"data set: {', '.join(DATASETS)}")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set (not used by synthetic)")
    parser.add_argument("--split", default="val", metavar="S", help="split to evaluate (default: val)")
    parser.add_argument("--limit", type=positive, metavar="N", help="evaluate only the first N images")
    add_metric_arguments(parser)
    augmentation = parser.add_argument_group("test-time augmentation", "off by default; reported with the metrics")
    augmentation.add_argument(
        "--scales",
        type=parse_scales,
        default=(1.0,),
        metavar="S,S",
        help="average the predictions over these input scales, such as 0.75,1,1.25 (default: 1)",
    )
    augmentation.add_argument(
        "--flip", action="store_true", help="average the predictions over each image and its horizontal flip"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--format", choices=FORMATS, default="table", help="format of the metrics on stdout (default: table)"
    )
    output.add_argument("--json", type=Path, metavar="F", help="write the metrics to this file as JSON")
    output.add_argument(
        "--plots",
        type=Path,
        metavar="DIR",
        help="write the confusion matrix and, with --calibration, the reliability diagram to this folder",
    )
    output.add_argument(
        "--submission",
        type=Path,
        metavar="ZIP",
        help="write a submission for the Cityscapes server (requires --dataset cityscapes)",
    )
    # Metrics must not depend on the processor they were measured on.
    add_segmenter_arguments(parser, default_precision="fp32")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.data import open_dataset
    from lsabinet_core.data.coverage import missing_classes
    from lsabinet_core.evaluation.augmented import AugmentedSegmenter
    from lsabinet_core.evaluation.evaluate import check_label_sets, evaluate
    from lsabinet_core.evaluation.formats import FORMATS, as_json
    from lsabinet_core.evaluation.origin import describe_origin
    from lsabinet_core.files import write_text

    _check_outputs(args)
    submission = None if args.submission is None else _open_submission(args)
    dataset = open_dataset(args.dataset, args.root, args.split)
    with contextlib.ExitStack() as stack:
        segmenter = stack.enter_context(open_segmenter(args))
        check_label_sets(segmenter.label_set, dataset.label_set)
        if args.flip or args.scales != (1.0,):
            segmenter = AugmentedSegmenter(segmenter, scales=args.scales, flip=args.flip)
        # The first frames are slow (memory allocation, kernel selection) and would distort p99.
        segmenter.warm_up(dataset.sample(0).image.shape[:2])
        progress = stack.enter_context(Progress("evaluating"))
        if submission is not None:
            stack.enter_context(submission)
        report = evaluate(
            segmenter,
            dataset,
            limit=args.limit,
            boundary_tolerance_px=args.boundary,
            calibration=args.calibration,
            on_result=submission and (lambda sample, result: submission.add(sample.name, result.mask)),
            progress=progress.update,
        )
    if submission is not None:
        _report_submission(submission, len(dataset))
    if report.images == 0:
        print(f"{dataset.name} {dataset.split} has no labels, so no metrics were computed", file=sys.stderr)
        return 0
    support = report.confusion.support
    warning = missing_classes(dataset, support)
    if warning is not None and np.count_nonzero(support) == 1:
        print(f"lsabinet: warning: {warning}", file=sys.stderr)
    if report.details["seen_in_training"]:
        print(
            f"lsabinet: warning: these weights were trained on {report.details['trained_on']}, which contains these "
            "images: the metrics do not show the accuracy on unseen images",
            file=sys.stderr,
        )
    if args.format == "table":
        print(f"{describe_origin(report.details)}\n")
    print(FORMATS[args.format](report))
    # After the metrics, which are then known even if a file cannot be written.
    if args.json is not None:
        write_text(args.json, as_json(report) + "\n")
    if args.plots is not None:
        _draw(args.plots, report, describe_origin(report.details))
    return 0


def parse_scales(text: str) -> tuple[float, ...]:
    """Parse ``"0.75,1,1.25"`` to (0.75, 1.0, 1.25); an argparse type."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"expected scales from 0.1 to 4, such as 0.75,1,1.25, got {text!r}")
    return scales


def _check_outputs(args: argparse.Namespace) -> None:
    """Check the output options before the evaluation, which may take long."""
    check_output_files(args, "json", "submission")
    if args.plots is not None:
        from lsabinet_core.plots.style import new_figure

        if args.plots.exists() and not args.plots.is_dir():
            raise LsabinetError(f"--plots {args.plots}: expected a folder, got a file")
        # Raises LsabinetError if matplotlib is missing.
        new_figure(1, 1)


def _draw(folder: Path, report: "Report", title: str) -> None:
    from lsabinet_core.plots.confusion import draw_confusion
    from lsabinet_core.plots.reliability import draw_reliability

    draw_confusion(folder / "confusion.png", report.confusion.matrix, report.label_set.names, title=title)
    if report.calibration is not None:
        bins = report.calibration.bins()
        path = folder / "reliability.png"
        draw_reliability(path, bins.confidence, bins.accuracy, bins.counts, bins.ece, title=title)


def _open_submission(args: argparse.Namespace) -> "CityscapesSubmission":
    from lsabinet_core.evaluation.submission import CityscapesSubmission

    if args.dataset != "cityscapes":
        raise DatasetError(f"--submission writes Cityscapes results: expected --dataset cityscapes, got {args.dataset}")
    return CityscapesSubmission(args.submission)


def _report_submission(submission: "CityscapesSubmission", images: int) -> None:
    from lsabinet_core.evaluation.submission import SERVER_SIZE

    print(f"{submission.path}: masks of {submission.count} of {images} images", file=sys.stderr)
    other = sorted(submission.sizes - {SERVER_SIZE})
    if other:
        sizes = ", ".join(f"{height}x{width}" for height, width in other)
        print(
            f"lsabinet: warning: the submission contains images of {sizes}: the server accepts only 1024x2048 (HxW)",
            file=sys.stderr,
        )
