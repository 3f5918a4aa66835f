"""``lsabinet benchmark``: the speed on this machine. Without a sub-verb it measures inference.

Other packages add sub-verbs through the entry point group ``lsabinet.benchmarks``.
"""

import argparse
import json
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

from lsabinet_core.cli import benchmark_scale, benchmark_train
from lsabinet_core.cli.output_files import check_output_files
from lsabinet_core.cli.plugins import load_verb, set_up_verb
from lsabinet_core.cli.segmenter_options import add_device_arguments, names, parse_size, positive, sizes
from lsabinet_core.errors import LsabinetError

HELP = "measure networks and engines side by side on this machine: latency, throughput, stages, memory"

VERBS = {"train": benchmark_train, "scale": benchmark_scale}
ENTRY_POINTS = "lsabinet.benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        type=names,
        default=["lsabinet"],
        metavar="M,..",
        help="networks of `lsabinet models` (random weights), shipped weights, weights files (default: lsabinet)",
    )
    parser.add_argument(
        "--backends",
        type=names,
        metavar="B,..",
        help="engines, auto, or eager: unmodified PyTorch, fp32, NCHW, full-size logits (default: eager,auto; for "
        "--profile eager,openvino)",
    )
    parser.add_argument(
        "--sizes", type=sizes, default=[(360, 480)], metavar="HxW,..", help="network input sizes (default: 360x480)"
    )
    parser.add_argument(
        "--precision", type=names, default=["fp32"], metavar="P,..", help="auto, fp32, fp16, bf16, int8 (default: fp32)"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images per call (default: 1)")
    parser.add_argument(
        "--rounds",
        type=positive,
        default=20,
        metavar="N",
        help="number of measured calls for each candidate; p99 needs 100 (default: 20)",
    )
    add_device_arguments(parser)
    parser.add_argument(
        "--frame", type=parse_size, metavar="HxW", help="size of the camera's frames (default: the network's size)"
    )
    parser.add_argument("--confidence", action="store_true", help="also compute the confidence in whole calls")
    parser.add_argument(
        "--dataset",
        choices=("camvid", "cityscapes"),
        default="camvid",
        help="data set whose classes networks with random weights have (default: %(default)s)",
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="also measure the first frame and the peak memory of each candidate in a separate process",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="instead show where the time goes: ms, bytes and multiply-accumulates of each part of the network, from "
        "the counters of openvino or by timing each operator of eager, beside this machine's memory bandwidth and "
        "matrix throughput",
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file as JSON")
    parser.add_argument("--csv", type=Path, metavar="F", help="write the rows to this file as CSV")
    parser.add_argument("--plot", type=Path, metavar="F", help="draw the latencies: .png, .pdf or .svg")
    verbs = parser.add_subparsers(title="what else to measure", metavar="WHAT")
    for name, module in {**_plugins(), **VERBS}.items():
        set_up_verb(module, verbs.add_parser(name, help=module.HELP, description=module.HELP))


def _plugins() -> dict[str, ModuleType]:
    """The sub-verbs of other packages."""
    modules = {}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            modules[entry.name] = load_verb(entry)
        except LsabinetError as error:
            print(f"lsabinet: warning: {error}", file=sys.stderr)
    return modules


def run(args: argparse.Namespace) -> int:
    if args.profile:
        return _run_profile(args)
    from lsabinet_core.benchmark.candidates import combine
    from lsabinet_core.benchmark.inference import benchmark_inference
    from lsabinet_core.cli.benchmark_report import inference_csv, inference_report
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.data import LABEL_SETS
    from lsabinet_core.files import write_text
    from lsabinet_core.plots.latency import draw_latency
    from lsabinet_core.plots.style import check_figure_path

    check_output_files(args, "json", "csv", "plot")
    if args.plot:
        check_figure_path(args.plot)
    show_log()
    with Progress() as progress:
        figures = benchmark_inference(
            combine(args.models, args.backends or ["eager", "auto"], args.precision, args.sizes, args.batch),
            rounds=args.rounds,
            threads=args.threads,
            device=args.device,
            frame=args.frame,
            confidence=args.confidence,
            label_set=LABEL_SETS[args.dataset],
            memory=args.memory,
            progress=progress.step,
        )
    print(inference_report(figures))
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if not figures["rows"]:
        print("lsabinet: error: nothing could be measured, for the reasons above", file=sys.stderr)
        return 1
    if args.csv:
        write_text(args.csv, inference_csv(figures["rows"]))
    if args.plot:
        draw_latency(args.plot, figures["rows"])
    return 0


def _run_profile(args: argparse.Namespace) -> int:
    from lsabinet_core.benchmark.candidates import combine
    from lsabinet_core.benchmark.profile import PROFILED, profile_inference
    from lsabinet_core.cli.benchmark_report import profile_report
    from lsabinet_core.cli.logs import show_log
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.data import LABEL_SETS
    from lsabinet_core.files import write_text
    from lsabinet_core.plots.profile import draw_profile
    from lsabinet_core.plots.style import check_figure_path

    for option in ("frame", "confidence", "memory", "csv"):
        if getattr(args, option):
            raise LsabinetError(f"--{option} has no effect together with --profile: remove one of them")
    if args.device not in ("auto", "cpu"):
        raise LsabinetError(f"--profile measures the CPU, got --device {args.device}")
    check_output_files(args, "json", "plot")
    if args.plot:
        check_figure_path(args.plot)
    show_log()
    with Progress() as progress:
        figures = profile_inference(
            combine(args.models, args.backends or PROFILED, args.precision, args.sizes, args.batch),
            runs=args.rounds,
            threads=args.threads,
            label_set=LABEL_SETS[args.dataset],
            progress=progress.step,
        )
    print(profile_report(figures))
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    if args.plot:
        draw_profile(args.plot, figures["profiles"])
    return 0
