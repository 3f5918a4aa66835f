"""``lsabinet benchmark scale``"""

import argparse
import json
import sys
from pathlib import Path

from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.cli.segmenter_options import (
    DEFAULT_WEIGHTS,
    add_device_arguments,
    names,
    parse_size,
    positive,
    sizes,
)
from lsabinet_core.errors import LsabinetError

HELP = "measure how the cost of a frame grows with the network's size, the frame's size, batch, threads or cameras"

# As in lsabinet_core.benchmark.scale, which is imported only when the verb runs.
VARIED = ("size", "frame", "batch", "threads", "cameras")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vary",
        choices=VARIED,
        required=True,
        help="size: the network's input; frame: the camera's frames; batch: images that go through the network "
        "together; threads; cameras: frames in one call of the Segmenter",
    )
    parser.add_argument(
        "--values",
        metavar="V,..",
        help="numbers, or HxW for sizes and frames (default: values that each double the cost)",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_WEIGHTS,
        metavar="M",
        help="network, shipped weights or weights file (default: %(default)s)",
    )
    parser.add_argument("--backend", default="auto", metavar="B", help="engine, auto or eager (default: %(default)s)")
    parser.add_argument(
        "--precision", default="auto", metavar="P", help="auto, fp32, fp16, bf16 or int8 (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=parse_size,
        default=(360, 480),
        metavar="HxW",
        help="size of the network's input (default: 360x480)",
    )
    parser.add_argument(
        "--frame", type=parse_size, metavar="HxW", help="size of the camera's frames (default: the network's size)"
    )
    add_device_arguments(parser)
    parser.add_argument(
        "--rounds", type=positive, default=20, metavar="N", help="number of measured calls for each value (default: 20)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file as JSON")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw the cost: .png, .pdf or .svg")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.benchmark.scale import Setting, benchmark_scale, usual_values
    from lsabinet_core.cli.benchmark_report import scale_report
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.files import write_text
    from lsabinet_core.plots.style import check_figure_path

    check_output_files(args, "json", "plot")
    if args.plot:
        check_figure_path(args.plot)
    if args.vary == "size" and args.frame:
        raise LsabinetError("--frame does not apply to --vary size, where frames have the network's size: remove it")
    setting = Setting(args.size, args.frame or args.size, threads=args.threads)
    values = _values(args.vary, args.values) if args.values else usual_values(args.vary, setting)
    show_log()
    with Progress() as progress:
        figures = benchmark_scale(
            args.model,
            args.backend,
            args.vary,
            values,
            setting,
            precision=args.precision,
            rounds=args.rounds,
            device=args.device,
            progress=progress.step,
        )
    print(scale_report(figures))
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if not figures["rows"]:
        print("lsabinet: error: nothing could be measured, for the reasons above", file=sys.stderr)
        return 1
    if args.plot:
        _draw(args.plot, figures)
    return 0


def _values(what: str, text: str) -> list:
    parse, kind = (sizes, "sizes") if what in ("size", "frame") else (_numbers, "whole numbers of 1 or more")
    try:
        return parse(text)
    except argparse.ArgumentTypeError as error:
        raise LsabinetError(f"--values of {what}: expected {kind}, separated by commas: {error}") from None


def _numbers(text: str) -> list[int]:
    return [positive(part) for part in names(text)]


def _draw(path: Path, figures: dict) -> None:
    import numpy as np

    from lsabinet_core.plots.curves import Curve, draw_curves

    rows, what = figures["rows"], figures["vary"]
    x_labels = {"size": "network's input (1000 pixels)", "frame": "camera's frame (1000 pixels)"}
    is_size = what in x_labels
    values = [row["value"] for row in rows]
    x = np.array([height * width / 1000 for height, width in values] if is_size else values, float)
    order = np.argsort(x, kind="stable")
    labels = {"network_ms": "network alone", "segment_ms": "whole Segmenter", "cpu_ms": "network alone, CPU time"}
    curves = [
        Curve(label, x[order], np.array([row[key] for row in rows], float)[order])
        for key, label in labels.items()
        if rows[0][key] is not None
    ]
    draw_curves(
        path,
        curves,
        title=f"{figures['model']}, {figures['backend']} {figures['precision']}, {figures['machine']['device_name']}",
        x_label=x_labels[what] if is_size else what,
        y_label="ms per frame (median)",
        marker="o",
        from_zero=True,
    )
