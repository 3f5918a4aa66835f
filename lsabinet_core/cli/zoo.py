"""``lsabinet zoo``: every network trained alike."""

import argparse
import sys
import time
from pathlib import Path

from lsabinet_core.cli.campaign_options import add_data_arguments, add_run_arguments, open_device, seeds
from lsabinet_core.cli.segmenter_options import names, positive
from lsabinet_core.cli.time_slice import UNFINISHED, time_slice

HELP = "train every network by one recipe and one budget, and tabulate them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="what to do", metavar="WHAT", required=True)
    train = verbs.add_parser(
        "train",
        help=HELP,
        description=f"{HELP}; called again with the same --out, it goes on where it was cut",
        epilog=f"exit status: 0 when every run is finished, {UNFINISHED} when --seconds are over and another call has "
        "work left, 1 for an error or where a network could not be trained",
    )
    train.add_argument("--recipe", default="zoo_cpu", metavar="R", help="shipped name or YAML file (%(default)s)")
    add_data_arguments(train)
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs and the table")
    train.add_argument("--models", type=names, metavar="M,M", help="networks to train (all)")
    train.add_argument(
        "--budget",
        type=positive,
        metavar="ITERATIONS",
        help="of every network, rounded up to whole epochs (the recipe's epochs)",
    )
    train.add_argument(
        "--seeds", type=seeds, default=(1,), metavar="N,N", help="train every network with each of them (1)"
    )
    train.add_argument("--seconds", type=positive, metavar="S", help="stop at a checkpoint before they are over")
    add_run_arguments(train)
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    import torch

    from lsabinet_core.cli.training_progress import TrainingProgress
    from lsabinet_core.data import open_dataset
    from lsabinet_core.inference.backends.common import device_name
    from lsabinet_core.models import list_models
    from lsabinet_core.training.campaign import carry_out_all
    from lsabinet_core.training.zoo import Zoo
    from lsabinet_core.training.zoo_table import write_zoo_tables

    device = open_device(args)
    splits = {name: open_dataset(args.dataset, args.root, name) for name in (args.split, args.val_split)}
    zoo = Zoo(
        args.recipe,
        args.overrides,
        args.models or list_models(),
        args.seeds,
        splits[args.split],
        splits[args.val_split],
        args.budget,
    )
    facts = {**zoo.facts, "device": device_name(device), "threads": torch.get_num_threads()}
    errors: dict[str, str] = {}

    def fail(planned, error) -> None:
        errors[planned.name] = str(error)
        print(f"lsabinet: error: {planned.name}: {error}", file=sys.stderr)

    with time_slice(args.seconds, started) as deadline, TrainingProgress(sys.stderr) as progress:
        for _ in carry_out_all(
            zoo.runs,
            args.out,
            splits.__getitem__,
            device=device,
            workers=args.workers,
            observer=progress,
            deadline=deadline,
            failed=fail,
        ):
            rows = zoo.rows(args.out, errors)
            write_zoo_tables(args.out, rows, facts)
            _print_table(rows)
    rows = zoo.rows(args.out, errors)
    write_zoo_tables(args.out, rows, facts)
    _print_table(rows)
    print(f"The table as Markdown, CSV and JSON: {args.out / 'table.md'}, .csv, .json")
    if any(row.state in ("waiting", "unfinished") for row in rows):
        return UNFINISHED
    return 1 if errors else 0


def _print_table(rows: list) -> None:
    from lsabinet_core.cli.table import format_table
    from lsabinet_core.training.zoo_table import COLUMNS, WORDS, cells

    print(format_table(COLUMNS, list(map(cells, rows)), right=set(COLUMNS) - set(WORDS)) + "\n", flush=True)
