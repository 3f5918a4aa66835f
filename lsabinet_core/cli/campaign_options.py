"""Options that the verbs with several training runs share."""

import argparse
from pathlib import Path

from lsabinet_core.cli.segmenter_options import count
from lsabinet_core.cores import at_most_cores
from lsabinet_core.data import DATASETS


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data set and its splits."""
    add_dataset_arguments(parser)
    parser.add_argument("--split", default="train", metavar="S", help="split to train on (%(default)s)")
    parser.add_argument("--val-split", default="val", metavar="S", help="split to measure on (%(default)s)")


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default="camvid",
        help="%(choices)s; folder: your own images, see docs/own_data.md (%(default)s)",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder (not for synthetic)")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what holds for every run: changes of the recipe, and what ``open_device`` reads."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change the recipe"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda (%(default)s)")
    add_workers_argument(parser)
    parser.add_argument("--threads", type=count, default=0, metavar="N", help="CPU threads; 0: all cores (0)")


def add_workers_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help="processes that prepare batches (1; with a GPU that cannot hold the data set, one per core but one)",
    )


def open_device(args: argparse.Namespace):
    """The ``torch.device`` that the options ask for, with so many threads. Raises BackendError."""
    import torch

    from lsabinet_core.inference.backends.torch_ import choose_device

    if args.threads:
        torch.set_num_threads(at_most_cores(args.threads))
    return choose_device(args.device)


def seeds(text: str) -> tuple[int, ...]:
    """``"1,2,3"`` to (1, 2, 3). An argparse type."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise argparse.ArgumentTypeError(f"expected different whole numbers such as 1,2,3, got {text!r}")
    return tuple(map(int, parts))
