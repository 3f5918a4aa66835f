"""``lsabinet tables``: the paper's tables, measured on this machine."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.cli.segmenter_options import add_device_arguments, names, parse_size, positive

if TYPE_CHECKING:
    from lsabinet_core.reproduce.measured import MeasuredTable

HELP = "measure the networks of one of the paper's tables on this machine, beside the printed values"

FORMATS = ("table", "markdown", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table",
        type=int,
        choices=(1, 2, 3, 4),
        required=True,
        help="1: Cityscapes, 2: its classes, 3: CamVid, 4: the modules of LSA-BiNet",
    )
    parser.add_argument("--models", type=names, default=(), metavar="M,..", help="only these rows (default: all)")
    measuring = parser.add_argument_group("what to measure")
    measuring.add_argument(
        "--size",
        type=parse_size,
        metavar="HxW",
        help="image size (default: 360x480 for CamVid, 512x1024 for Cityscapes)",
    )
    measuring.add_argument(
        "--backends", type=names, default=["torch"], metavar="B,..", help="engines, or eager (default: torch)"
    )
    measuring.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="measured calls of each network (default: 5)"
    )
    add_device_arguments(measuring)
    accuracy = parser.add_argument_group(
        "where mIoU comes from", "in addition to the shipped weights; for tables 1 to 3"
    )
    accuracy.add_argument("--weights", nargs="+", default=[], metavar="F", help="weights files, one per network")
    accuracy.add_argument("--zoo", type=Path, metavar="DIR", help="the runs of `lsabinet zoo train`")
    accuracy.add_argument("--ablation", type=Path, metavar="DIR", help="the folder of `lsabinet ablate`, for table 4")
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=FORMATS, default="table", help="format of the table (default: %(default)s)")
    output.add_argument("--out", type=Path, metavar="F", help="write the table to this file instead of printing it")
    output.add_argument("--plot", type=Path, metavar="F", help="draw mIoU against latency: .png, .pdf or .svg")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.files import write_text
    from lsabinet_core.reproduce.measured import measure_table, table_rows

    _check_outputs(args)
    table_rows(args.table, args.models)
    accuracies = _accuracies(args)
    show_log()
    with Progress() as progress:
        table = measure_table(
            args.table,
            names=args.models,
            size=args.size,
            backends=args.backends,
            rounds=args.rounds,
            threads=args.threads,
            device=args.device,
            accuracies=accuracies,
            progress=progress.step,
        )
    text = _formatted(table, args.format)
    if args.out is None:
        print(text)
    else:
        write_text(args.out, text + "\n")
        print(f"written: {args.out}", file=sys.stderr)
    if not any(row.latency for row in table.rows):
        print("lsabinet: error: nothing could be timed; the table says why", file=sys.stderr)
        return 1
    if args.plot is not None:
        _draw(args.plot, table)
        print(f"drawn: {args.plot}", file=sys.stderr)
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Check what would otherwise fail only after the measurements."""
    from lsabinet_core.plots.style import check_figure_path
    from lsabinet_core.reproduce.accuracy import check_sources

    check_sources(args.table, weights=args.weights, zoo=args.zoo, ablation=args.ablation)
    check_output_files(args, "out", "plot")
    if args.plot is not None:
        check_figure_path(args.plot)


def _accuracies(args: argparse.Namespace) -> dict:
    """By row: named weights take precedence over the zoo's runs, and these over the shipped weights."""
    from lsabinet_core.reproduce import accuracy
    from lsabinet_core.reproduce.paper import TABLES

    dataset = TABLES[args.table].dataset
    if args.table == 4:
        return accuracy.of_ablation(args.ablation, dataset) if args.ablation else {}
    return {
        **accuracy.of_shipped_weights(dataset),
        **(accuracy.of_zoo(args.zoo, dataset) if args.zoo else {}),
        **accuracy.of_weights(args.weights, dataset),
    }


def _formatted(table: "MeasuredTable", form: str) -> str:
    from lsabinet_core.reproduce.report import class_report, heading, report

    main, classes = report(table), class_report(table)
    if form in ("csv", "json"):
        return (main.csv() if form == "csv" else main.json()).rstrip("\n")
    text = {"table": lambda part: part.text(), "markdown": lambda part: part.markdown()}[form]
    title = heading(table) if form == "table" else f"**{heading(table)}**"
    return "\n\n".join([title, text(main), *(["IoU of each class in %:", text(classes)] if classes else [])])


def _draw(path: Path, table: "MeasuredTable") -> None:
    from lsabinet_core.plots.tradeoff import Point, draw_tradeoff
    from lsabinet_core.reproduce.report import heading

    # The first requested one that ran.
    backend = next(name for name in table.backends if any(name in row.latency for row in table.rows))
    points = [
        Point(
            row.title,
            latency,
            row.cost.parameters,
            None if row.miou is None else 100 * row.miou,
            group="not in the paper" if row.printed.note in ("not in the paper", "not printed") else "in the paper",
            is_ours=row.is_ours,
        )
        for row in table.rows
        if (latency := row.median_ms(backend)) is not None and row.cost is not None
    ]
    draw_tradeoff(path, points, title=heading(table), backend=f"{backend}, {table.machine['device_name']}")
