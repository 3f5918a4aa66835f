"""What the verbs with several training runs share: they train, tabulate after each run, and say how to continue."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lsabinet_core.text_table import Table

if TYPE_CHECKING:
    import torch

    from lsabinet_core.data import SegmentationDataset
    from lsabinet_core.training.sweep import PlannedRun


def deadline(args: argparse.Namespace) -> float | None:
    """End of ``--seconds``, counted from now, on ``time.monotonic()``'s clock."""
    return None if args.seconds is None else time.monotonic() + args.seconds


def train_and_tabulate(
    args: argparse.Namespace,
    runs: "Sequence[PlannedRun]",
    open_split: "Callable[[str], SegmentationDataset]",
    tabulate: Callable[[list[dict]], Table],
    device: "torch.device",
    *,
    ends: float | None,
    go_on: bool = True,
) -> int:
    """Train the runs into ``args.out``, and write and print their table after each; returns the exit status.

    Args:
        args: ``out`` and ``workers``.
        runs: trained one after the other.
        open_split: opens the data set's split of a name.
        tabulate: makes the table of ``run_rows``.
        device: to train on.
        ends: of ``deadline``.
        go_on: whether to train the next run after one that failed.
    """
    from lsabinet_core.cli.progress import TrainingProgress
    from lsabinet_core.training.sweep import run_rows, train_runs

    errors: dict[str, str] = {}

    def fail(planned: "PlannedRun", error: Exception) -> None:
        errors[planned.name] = str(error)
        print(f"lsabinet: error: {planned.name}: {error}", file=sys.stderr)

    def show(rows: list[dict]) -> None:
        table = tabulate(rows)
        table.write(args.out)
        print(table.text() + "\n", flush=True)

    with TrainingProgress() as progress:
        for _ in train_runs(
            runs,
            args.out,
            open_split,
            device=device,
            workers=args.workers,
            observer=progress,
            deadline=ends,
            failed=fail if go_on else None,
        ):
            show(run_rows(args.out, runs, errors))
    rows = run_rows(args.out, runs, errors)
    show(rows)
    print(f"table written: {args.out / 'table.md'}, .csv, .json")
    left = sum(row["state"] in ("waiting", "unfinished") for row in rows)
    if left:
        print(f"stopped after --seconds {args.seconds}, {left} of {len(rows)} runs left: repeat the command")
    return 1 if errors else 0
