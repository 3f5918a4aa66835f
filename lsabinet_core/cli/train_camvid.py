"""``python -m lsabinet_core.cli.train_camvid``: the runs behind the CamVid weights, in slices of time.

One call carries on where the last one stopped, until its time is over or every run is finished; the table of all runs
comes last. ``scripts/train_camvid_gpu.sh`` is the way to call it. Exit status: 0 when all is done, 75 when another call
has work left, 1 for an error.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lsabinet_core.cli.campaign_options import add_run_arguments, open_device
from lsabinet_core.cli.segmenter_options import count, positive
from lsabinet_core.cli.time_slice import UNFINISHED, time_slice
from lsabinet_core.errors import LsabinetError

FINAL = "lsabinet_trainval"
"""The run on train + val."""

SHIPPED = "lsabinet_camvid.safetensors"
"""Its weights, once all runs are finished."""


def main(argv: Sequence[str] | None = None) -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="train_camvid", description=__doc__.split("\n\n")[0])
    parser.add_argument("root", type=Path, metavar="CAMVID_ROOT", help="CamVid's folder")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the runs")
    parser.add_argument("--seconds", type=positive, metavar="S", help="length of the slice (no end)")
    parser.add_argument("--recipe", default="camvid", metavar="R", help="shipped name or YAML file (%(default)s)")
    parser.add_argument(
        "--seeds", type=count, nargs="+", default=[1, 2, 3], metavar="N", help="of each network (1 2 3)"
    )
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return run(args, started)
    except (LsabinetError, OSError) as error:
        print(f"lsabinet: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lsabinet: interrupted", file=sys.stderr)
        return 130


def run(args: argparse.Namespace, started: float) -> int:
    """Carry on with the plan until ``args.seconds`` after ``started``, on ``time.monotonic()``'s clock."""
    from lsabinet_core.cli.training_progress import TrainingProgress
    from lsabinet_core.data import open_dataset
    from lsabinet_core.training.campaign import carry_out_all, read_run
    from lsabinet_core.training.shipping import ship

    device = open_device(args)
    runs = plan(args.recipe, args.overrides, args.seeds)
    # All of them, so that a wrong folder is known at once and not at the last run.
    splits = {name: open_dataset("camvid", args.root, name) for name in ("train", "val", "trainval")}
    try:
        with time_slice(args.seconds, started) as deadline, TrainingProgress(sys.stderr) as progress:
            for _ in carry_out_all(
                runs,
                args.out,
                splits.__getitem__,
                device=device,
                workers=args.workers,
                observer=progress,
                deadline=deadline,
            ):
                pass
    finally:
        # Whatever ended the slice, Ctrl-C and errors among it.
        records = {planned.name: read_run(args.out / planned.name) for planned in runs}
        print(report(runs, records), flush=True)
    if any(record.state != "finished" for record in records.values()):
        return UNFINISHED
    weights = {planned.name: args.out / planned.name / records[planned.name].weights for planned in runs}
    validated = [weights[f"lsabinet_seed{seed}"] for seed in args.seeds]
    ship(weights[FINAL], validated, args.out / SHIPPED)
    print(f"weights to ship: {args.out / SHIPPED}")
    return 0


def plan(recipe: str, overrides: Sequence[str], seeds: Sequence[int]) -> list:
    """The runs in their order: the network and its control, the run that ships, then both with the further seeds.

    The control is DABNet, the network without its three modules, by the same recipe. The run that ships learns from
    train + val, which is why its figure on val says nothing.
    """
    from lsabinet_core.training.campaign import PlannedRun
    from lsabinet_core.training.recipe import load_recipe

    networks = {"lsabinet": [], "dabnet": ["model=dabnet", "model_options={}"]}
    runs = [
        PlannedRun(f"{name}_seed{seed}", load_recipe(recipe, [*overrides, *changes, f"seed={seed}"]), "camvid")
        for seed in seeds
        for name, changes in networks.items()
    ]
    final = load_recipe(recipe, [*overrides, f"seed={seeds[0]}"])
    return [*runs[:2], PlannedRun(FINAL, final, "camvid", "trainval"), *runs[2:]]


def report(runs: Sequence, records: dict) -> str:
    """The table of all runs, and what the finished ones say of the two networks."""
    from lsabinet_core.cli.table import format_table

    header = ["run", "trained on", "state", "iterations", "val mIoU %", "images/s", "time"]
    rows, mious = [], {"lsabinet": [], "dabnet": []}
    for planned in runs:
        record = records[planned.name]
        seen = planned.split != "train"
        if record.state == "finished" and not seen:
            mious[planned.recipe.model].append(record.val_miou)
        total = record.total_iterations
        rows.append(
            [
                planned.name,
                planned.split,
                record.state,
                "-" if record.state == "waiting" else f"{record.iterations}/{'?' if total is None else total}",
                "seen" if seen else _percent(record.val_miou),
                "-" if record.images_per_s is None else f"{record.images_per_s:.1f}",
                "-" if record.seconds is None else f"{int(record.seconds) // 60}:{int(record.seconds) % 60:02d}",
            ]
        )
    lines = [format_table(header, rows, right=header[3:]), ""]
    for name, values in mious.items():
        spread = f" +- {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
        mean = f"{_percent(statistics.fmean(values))}{spread} %" if values else "-"
        lines.append(f"{name}: val mIoU {mean}, mean of {len(values)} finished runs on train")
    if all(mious.values()):
        difference = statistics.fmean(mious["lsabinet"]) - statistics.fmean(mious["dabnet"])
        lines.append(f"lsabinet over dabnet: {100 * difference:+.2f} points")
    return "\n".join(lines)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"


if __name__ == "__main__":
    sys.exit(main())
