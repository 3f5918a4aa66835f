"""``lsabinet average``: average the weights of several training runs."""

import argparse
from pathlib import Path

from lsabinet_core.cli.output_files import check_output_files

HELP = "average the weights of runs that began from the same trained weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "weights", nargs="+", metavar="W", help="weights files or names of shipped weights, at least two"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="weights file to write (.safetensors)")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.errors import WeightsError
    from lsabinet_core.models.averaged_weights import average_weights
    from lsabinet_core.models.weights import SUFFIX, find_weights, save_weights

    check_output_files(args, "out")
    if args.out.suffix != SUFFIX:
        raise WeightsError(f"--out: expected a {SUFFIX} file, got {args.out}")
    if args.out.exists() and any(find_weights(weights).samefile(args.out) for weights in args.weights):
        raise WeightsError(f"--out {args.out} would replace weights that are averaged: choose another name")
    model, metadata = average_weights(args.weights)
    save_weights(args.out, model, metadata)
    print(f"{args.out}: average of {len(args.weights)} weights; `lsabinet evaluate --weights {args.out}` measures it")
    return 0
