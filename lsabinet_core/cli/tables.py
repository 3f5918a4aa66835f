"""``lsabinet tables``: the paper's tables, run anew on this machine."""

import argparse
import sys
from pathlib import Path

from lsabinet_core.cli.segmenter_options import count, names, parse_size, positive

HELP = "measure the networks of one of the paper's tables here, in one run, beside the figures that it prints"

FORMATS = ("table", "markdown", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table",
        type=int,
        choices=(1, 2, 3, 4),
        required=True,
        help="1: Cityscapes, 2: its classes, 3: CamVid, 4: the modules of LSA-BiNet",
    )
    parser.add_argument("--models", type=names, default=(), metavar="M,..", help="only these rows (all)")
    measuring = parser.add_argument_group("what to measure on")
    measuring.add_argument(
        "--size", type=parse_size, metavar="HxW", help="of the images (360x480 for CamVid, 512x1024 for Cityscapes)"
    )
    measuring.add_argument(
        "--backends", type=names, default=["torch"], metavar="B,..", help="engines, eager among them (torch)"
    )
    measuring.add_argument("--rounds", type=positive, default=5, metavar="N", help="measured turns of each network (5)")
    measuring.add_argument("--threads", type=count, default=0, metavar="N", help="most CPU threads; 0: all (0)")
    measuring.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (auto)")
    accuracy = parser.add_argument_group("where mIoU comes from", "besides the weights that ship; tables 1 to 3")
    accuracy.add_argument("--weights", nargs="+", default=[], metavar="F", help="weights files, one of each network")
    accuracy.add_argument("--zoo", type=Path, metavar="DIR", help="the runs of `lsabinet zoo train`")
    accuracy.add_argument("--ablation", type=Path, metavar="DIR", help="the folder of `lsabinet ablate`, for table 4")
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=FORMATS, default="table", help="of the figures (table)")
    output.add_argument("--out", type=Path, metavar="F", help="write them to this file instead of printing them")
    output.add_argument("--plot", type=Path, metavar="F", help="draw mIoU against latency: .png, .pdf or .svg")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.benchmark.tables import measure_table, table_rows
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.step_progress import StepProgress
    from lsabinet_core.files import write_text

    _check_outputs(args)
    table_rows(args.table, args.models)
    accuracies = _accuracies(args)
    show_log()
    with StepProgress() as progress:
        table = measure_table(
            args.table,
            names=args.models,
            size=args.size,
            backends=args.backends,
            rounds=args.rounds,
            threads=args.threads,
            device=args.device,
            accuracies=accuracies,
            progress=progress.update,
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
    """What would otherwise fail only after the long run."""
    from lsabinet_core.benchmark.trained import check_sources
    from lsabinet_core.errors import LsabinetError
    from lsabinet_core.plots.style import check_figure_path, new_figure

    check_sources(args.table, weights=args.weights, zoo=args.zoo, ablation=args.ablation)
    for option in ("out", "plot"):
        path = getattr(args, option)
        if path is not None and path.is_dir():
            raise LsabinetError(f"--{option} {path}: expected a file, got a folder")
    if args.plot is not None:
        check_figure_path(args.plot)
        # It says so where matplotlib is missing.
        new_figure(1, 1)


def _accuracies(args: argparse.Namespace) -> dict:
    """By row: the weights that are named, then the zoo's runs, then the weights that ship."""
    from lsabinet_core.benchmark import trained
    from lsabinet_core.models.paper import TABLES

    dataset = TABLES[args.table].dataset
    if args.table == 4:
        return trained.of_ablation(args.ablation, dataset) if args.ablation else {}
    return {
        **trained.of_shipped_weights(dataset),
        **(trained.of_zoo(args.zoo, dataset) if args.zoo else {}),
        **trained.of_weights(args.weights, dataset),
    }


def _formatted(table, name: str) -> str:
    from lsabinet_core.benchmark import table_formats

    formats = {
        "table": _terminal,
        "markdown": table_formats.markdown,
        "csv": table_formats.comma_separated,
        "json": table_formats.as_json,
    }
    return formats[name](table)


def _terminal(table) -> str:
    from lsabinet_core.benchmark.table_formats import TEXT_COLUMNS, class_columns, figures, heading, notes
    from lsabinet_core.cli.table import format_table, wrap

    def block(header: list[str], rows: list[list[str]]) -> str:
        return format_table(header, rows, right=[name for name in header if name not in TEXT_COLUMNS])

    names, body, marks = figures(table)
    parts = [heading(table), block(names, body)]
    header, rows = class_columns(table)
    if rows:
        parts += ["IoU of each class, %:", block(header, rows)]
    return "\n\n".join([*parts, "\n".join(map(wrap, marks.lines())), *map(wrap, notes(table))])


def _draw(path: Path, table) -> None:
    from lsabinet_core.benchmark.table_formats import heading
    from lsabinet_core.plots.tradeoff import Point, draw_tradeoff

    # The first one that was asked for and ran.
    backend = next(name for name in table.backends if any(name in row.latency for row in table.rows))
    points = [
        Point(
            row.title,
            latency,
            row.parameters,
            None if row.miou is None else 100 * row.miou,
            group="not in the paper" if row.printed.note in ("not in the paper", "not printed") else "in the paper",
            is_ours=row.is_ours,
        )
        for row in table.rows
        if (latency := row.median_ms(backend)) is not None
    ]
    draw_tradeoff(path, points, title=heading(table), backend=f"{backend}, {table.machine['device_name']}")
