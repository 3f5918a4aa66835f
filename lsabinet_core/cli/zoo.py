"""``lsabinet zoo``: every network with the same recipe."""

import argparse
from pathlib import Path

from lsabinet_core.cli.segmenter_options import names, positive
from lsabinet_core.cli.training_options import (
    add_data_arguments,
    add_run_arguments,
    add_seeds_argument,
    open_device,
)

HELP = "train every network with one recipe for the same number of iterations, and tabulate the results"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    train = verbs.add_parser("train", help=HELP, description=f"{HELP}; repeat the command to continue")
    train.add_argument(
        "--recipe", default="zoo_cpu", metavar="R", help="name of a shipped recipe or YAML file (default: %(default)s)"
    )
    add_data_arguments(train)
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs and the table")
    train.add_argument("--models", type=names, metavar="M,M", help="networks to train (default: all)")
    train.add_argument(
        "--budget",
        type=positive,
        metavar="ITERATIONS",
        help="iterations for every network, rounded up to whole epochs (default: the recipe's epochs)",
    )
    add_seeds_argument(train)
    add_run_arguments(train)
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.sweep import deadline, train_and_tabulate

    ends = deadline(args)
    import torch

    from lsabinet_core.data import open_dataset
    from lsabinet_core.inference.backends.choose import device_name
    from lsabinet_core.models import list_models
    from lsabinet_core.training.zoo import Zoo

    device = open_device(args)
    splits = {name: open_dataset(args.dataset, args.root, name) for name in (args.split, args.val_split)}
    train, val = splits[args.split], splits[args.val_split]
    zoo = Zoo(args.recipe, args.overrides, args.models or list_models(), args.seeds, train, val, args.budget)
    machine = {"device": device_name(device), "threads": torch.get_num_threads()}
    return train_and_tabulate(
        args, zoo.runs, splits.__getitem__, lambda rows: zoo.table(rows, machine), device, ends=ends
    )
