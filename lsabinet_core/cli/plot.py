"""``lsabinet plot``: the curves of one or several training runs in one figure."""

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.cli.segmenter_options import positive

if TYPE_CHECKING:
    from lsabinet_core.plots.curves import Curve
    from lsabinet_core.training.run_history import RunHistory

HELP = "draw the loss or mIoU curves of training runs in one figure"

LABELS = {"loss": "training loss", "miou": "validation mIoU (%)"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="runs, or folders of runs")
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="figure to write: .png, .pdf or .svg")
    parser.add_argument("--what", choices=tuple(LABELS), default="loss", help="what to draw (default: %(default)s)")
    parser.add_argument(
        "--over", choices=("iteration", "epoch"), default="iteration", help="the horizontal axis (default: %(default)s)"
    )
    parser.add_argument(
        "--smooth", type=positive, default=1, metavar="N", help="draw the mean of N neighbouring records (default: 1)"
    )
    parser.add_argument("--csv", type=Path, metavar="F", help="also write the numbers to this file")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.runs import short_names
    from lsabinet_core.files import write_text
    from lsabinet_core.plots.curves import draw_curves
    from lsabinet_core.plots.style import check_figure_path
    from lsabinet_core.training.run_history import find_runs, read_history

    check_output_files(args, "out", "csv")
    check_figure_path(args.out)
    folders = list(dict.fromkeys(folder for path in args.runs for folder in find_runs(path)))
    histories = [read_history(folder) for folder in folders]
    names = short_names(folders)
    curves = [_curve(history, name, args.what, args.over) for history, name in zip(histories, names, strict=True)]
    draw_curves(
        args.out,
        curves,
        title=LABELS[args.what].removesuffix(" (%)").capitalize().replace("miou", "mIoU"),
        x_label=args.over,
        y_label=LABELS[args.what],
        smooth=args.smooth,
        marker="o" if args.what == "miou" else None,
    )
    if args.csv:
        write_text(args.csv, _csv(curves, args))
    print(f"{len(curves)} {'run' if len(curves) == 1 else 'runs'} drawn: {args.out}")
    return 0


def _curve(history: "RunHistory", name: str, what: str, over: str) -> "Curve":
    """Raises TrainingError where the run has nothing to draw yet."""
    from lsabinet_core.errors import TrainingError
    from lsabinet_core.plots.curves import Curve

    if what == "loss":
        x, y = history.series("iteration"), history.series("loss")
    else:
        x, y = history.validation_iterations, 100 * history.miou
    if not len(y):
        missing = "training record" if what == "loss" else "validation"
        raise TrainingError(f"{history.path} has no {missing} yet: leave it out, or wait until it has one")
    if over == "epoch":
        if history.epoch_iterations is None:
            raise TrainingError(f"{history.path} is too short to determine its epochs: use --over iteration")
        x = x / history.epoch_iterations
    return Curve(name, x, y)


def _csv(curves: "list[Curve]", args: argparse.Namespace) -> str:
    """A line per point: run, place, value, and the smoothed value if one is drawn."""
    from lsabinet_core.plots.curves import moving_mean

    smoothed = args.smooth > 1
    value = "loss" if args.what == "loss" else "miou_percent"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", args.over, value, *([f"{value}_mean_of_{args.smooth}"] if smoothed else [])])
    for curve in curves:
        means = moving_mean(curve.y, args.smooth)
        for x, y, mean in zip(curve.x, curve.y, means, strict=True):
            writer.writerow([curve.label, f"{x:g}", f"{y:.6g}", *([f"{mean:.6g}"] if smoothed else [])])
    return text.getvalue()
