"""``lsabinet ablate``: what each part of the network, or each setting of a recipe, is worth."""

import argparse
import json
import sys
from pathlib import Path

from lsabinet_core.cli.campaign_options import add_data_arguments, add_run_arguments, open_device, seeds

HELP = "train a recipe with its parts switched on and off, and tabulate what each is worth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", default="paper_camvid", metavar="R", help="shipped name or YAML file (%(default)s)")
    add_data_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs and the table")
    parser.add_argument(
        "--factors",
        choices=("modules", "recipe"),
        help="what to vary: the eight combinations of LRFA, SVFM and RCAD, or the settings of --switch "
        "(recipe where there is a --switch, else modules)",
    )
    parser.add_argument(
        "--switch",
        action="append",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="also train with this changed alone; several keys after one --switch are changed together",
    )
    parser.add_argument(
        "--seeds", type=seeds, default=(1,), metavar="N,N", help="train every variant with each of them (1)"
    )
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.training_progress import TrainingProgress
    from lsabinet_core.data import open_dataset
    from lsabinet_core.errors import RecipeError
    from lsabinet_core.training.ablation import Row, module_variants, switch_variants, variant_recipes
    from lsabinet_core.training.ablation_table import write_tables
    from lsabinet_core.training.campaign import PlannedRun, carry_out_all, read_run

    factors = args.factors or ("recipe" if args.switch else "modules")
    if (factors == "recipe") != bool(args.switch):
        raise RecipeError("--factors recipe needs a --switch KEY=VALUE at least, and --factors modules takes none")
    device = open_device(args)
    variants = module_variants() if factors == "modules" else switch_variants(args.switch)
    recipes = variant_recipes(args.recipe, args.overrides, variants, args.seeds)
    splits = {name: open_dataset(args.dataset, args.root, name) for name in (args.split, args.val_split)}
    plan = {
        (variant.name, seed): PlannedRun(
            f"{variant.name}/seed{seed}", recipes[variant.name, seed], args.dataset, args.split, args.val_split
        )
        # All variants with one seed, then with the next: the table says something as soon as it can.
        for seed in args.seeds
        for variant in variants
    }
    networks = [recipes[variant.name, args.seeds[0]] for variant in variants]
    costs, latency = _costs(args.out, networks, len(splits[args.split].label_set), device)
    rows = {variant.name: Row(variant, cost) for variant, cost in zip(variants, costs, strict=True)}
    facts = {
        "recipe": str(args.recipe),
        "overrides": args.overrides,
        "dataset": args.dataset,
        "split": args.split,
        "val_split": args.val_split,
        "seeds": list(args.seeds),
        "latency": latency,
    }

    def tabulate() -> None:
        for (name, seed), planned in plan.items():
            rows[name].runs[seed] = read_run(args.out / planned.name)
        write_tables(args.out, list(rows.values()), facts)

    of_run = {planned.name: of for of, planned in plan.items()}

    def fail(planned, error) -> None:
        name, seed = of_run[planned.name]
        rows[name].errors[seed] = str(error)
        print(f"lsabinet: error: {planned.name}: {error}", file=sys.stderr)

    with TrainingProgress(sys.stderr) as progress:
        for _ in carry_out_all(
            list(plan.values()),
            args.out,
            splits.__getitem__,
            device=device,
            workers=args.workers,
            observer=progress,
            failed=fail,
        ):
            tabulate()
    tabulate()
    _print_table(list(rows.values()), facts)
    print(f"\nThe table as Markdown, CSV and JSON: {args.out / 'table.md'}, .csv, .json")
    return 1 if any(row.errors for row in rows.values()) else 0


def _costs(folder: Path, recipes: list, num_classes: int, device) -> tuple[list, dict]:
    """The cost of each recipe's network, and how the latency was measured; equal networks are measured once.

    Latencies that are in the folder's table already, of the same networks on the same machine, are kept.
    """
    import torch

    from lsabinet_core.benchmark.hardware import device_name
    from lsabinet_core.benchmark.networks import forward_latency
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.models import create_model
    from lsabinet_core.training.ablation import network_cost

    keys = [json.dumps([recipe.model, recipe.model_options], sort_keys=True) for recipe in recipes]
    size = recipes[0].input_size
    measured = {
        "size": list(size),
        "classes": num_classes,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "networks": keys,
    }
    latencies = _known_latencies(folder / "table.json", measured)
    if latencies is None:
        networks = {
            key: create_model(recipe.model, num_classes, **recipe.model_options) for key, recipe in zip(keys, recipes)
        }
        with Progress("measuring latency") as progress:
            by_key = forward_latency(networks, size, device, progress=progress.update)
        latencies = [by_key[key] for key in keys]
    costs = [network_cost(recipe, num_classes, value) for recipe, value in zip(recipes, latencies, strict=True)]
    return costs, measured


def _known_latencies(table: Path, measured: dict) -> list[float] | None:
    try:
        document = json.loads(table.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if document.get("latency") != measured:
        return None
    return [row["latency_ms"] for row in document["rows"]]


def _print_table(rows: list, facts: dict) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lsabinet_core.training.ablation_table import cells, columns, notes

    table = Table(box=box.SIMPLE_HEAD)
    for header in columns(rows):
        table.add_column(header, justify="left" if header == "variant" else "right", overflow="fold")
    for row in rows:
        table.add_row(*cells(row, rows[0]))
    # Piped into a file, a table must not be folded at a terminal's 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)
    for note in notes(rows, facts):
        console.print(note, highlight=False)
