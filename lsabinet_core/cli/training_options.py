"""Options that the verbs that train share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.segmenter_options import add_threads_argument, count, positive
from lsabinet_core.data import DATASETS

if TYPE_CHECKING:
    import torch


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data set and its splits."""
    add_dataset_arguments(parser)
    parser.add_argument("--split", default="train", metavar="S", help="split to train on (default: %(default)s)")
    parser.add_argument("--val-split", default="val", metavar="S", help="split to validate on (default: %(default)s)")


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default="camvid",
        help="%(choices)s; folder: your own images, see docs/own_data.md (default: %(default)s)",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder (not for synthetic)")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add recipe overrides, the time limit, and what ``open_device`` reads."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a setting of the recipe, such as optimizer.lr=0.002",
    )
    parser.add_argument(
        "--seconds", type=positive, metavar="S", help="stop with a checkpoint after this time (default: no limit)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="D",
        help="auto, cpu or cuda (default: %(default)s); torchrun gives each process its own",
    )
    add_workers_argument(parser)
    add_threads_argument(parser)


def add_seeds_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds", type=seeds, default=(1,), metavar="N,N", help="repeat every training with each seed (default: 1)"
    )


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="processes that prepare batches (default: 1; with a GPU that cannot hold the data set, all cores but one)",
    )


def open_device(args: argparse.Namespace) -> "torch.device":
    """The ``torch.device`` that the options name; limits the threads. Raises BackendError."""
    from lsabinet_core.inference.backends.choose import choose_device
    from lsabinet_core.inference.threads import limit_threads

    limit_threads(args.threads)
    return choose_device(args.device)


def seeds(text: str) -> tuple[int, ...]:
    """``"1,2,3"`` to (1, 2, 3). An argparse type."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"expected different whole numbers such as 1,2,3, got {text!r}")
    return tuple(map(count, map(str.strip, parts)))
