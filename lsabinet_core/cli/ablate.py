"""``lsabinet ablate``: what each part of the network, or each setting of a recipe, contributes."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.training_options import (
    add_data_arguments,
    add_run_arguments,
    add_seeds_argument,
    open_device,
)

if TYPE_CHECKING:
    import torch

    from lsabinet_core.text_table import Table

HELP = "train a recipe with parts of it switched on and off, and tabulate what each contributes"

LATENCY_ROUNDS = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        default="paper_camvid",
        metavar="R",
        help="name of a shipped recipe or YAML file (default: %(default)s)",
    )
    add_data_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the runs and the table")
    parser.add_argument(
        "--factors",
        choices=("modules", "recipe"),
        help="what to vary: the eight combinations of LRFA, SVFM and RCAD, or the settings of --switch "
        "(default: recipe with --switch, else modules)",
    )
    parser.add_argument(
        "--switch",
        action="append",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="also train with this change alone; several keys after one --switch are changed together",
    )
    add_seeds_argument(parser)
    add_run_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.sweep import deadline, train_and_tabulate

    ends = deadline(args)
    from lsabinet_core.data import open_dataset
    from lsabinet_core.errors import RecipeError
    from lsabinet_core.models.complexity import network_cost
    from lsabinet_core.reproduce.modules import module_variants, with_paper_columns
    from lsabinet_core.training.ablation import ablation_table, switch_variants, variant_runs

    factors = args.factors or ("recipe" if args.switch else "modules")
    if (factors == "recipe") != bool(args.switch):
        raise RecipeError("--factors recipe needs at least one --switch KEY=VALUE, --factors modules accepts none")
    device = open_device(args)
    if factors == "modules":
        variants = module_variants(args.recipe, args.overrides)
    else:
        variants = switch_variants(args.recipe, args.overrides, args.switch)
    runs = variant_runs(args.recipe, args.overrides, variants, args.seeds, args.dataset, args.split, args.val_split)
    splits = {name: open_dataset(args.dataset, args.root, name) for name in (args.split, args.val_split)}
    recipes = {variant.name: planned.recipe for variant, planned in zip(variants, runs, strict=False)}
    classes = len(splits[args.split].label_set)
    costs = {
        name: network_cost(recipe.model, classes, recipe.input_size, recipe.model_options)
        for name, recipe in recipes.items()
    }
    latencies, measured = _latencies(args.out, recipes, classes, device)
    facts = {
        "recipe": str(args.recipe),
        "overrides": args.overrides,
        "dataset": args.dataset,
        "split": args.split,
        "val_split": args.val_split,
        "seeds": list(args.seeds),
        "latency": measured,
    }

    def tabulate(rows: list[dict]) -> "Table":
        table = ablation_table(variants, rows, costs, latencies, facts)
        return with_paper_columns(table) if factors == "modules" else table

    return train_and_tabulate(args, runs, splits.__getitem__, tabulate, device, ends=ends)


def _latencies(
    folder: Path, recipes: Mapping, num_classes: int, device: "torch.device"
) -> tuple[dict[str, float], dict]:
    """Milliseconds of a forward pass of each recipe's network, by name, and how they were measured.

    Equal networks are measured once. What the folder's table has of the same networks on the same machine is kept.
    """
    import torch

    from lsabinet_core.benchmark.hardware import device_name

    keys = {name: json.dumps([recipe.model, recipe.model_options], sort_keys=True) for name, recipe in recipes.items()}
    size = next(iter(recipes.values())).input_size
    measured = {
        "size": list(size),
        "classes": num_classes,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "networks": list(keys.values()),
    }
    try:
        document = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        if document.get("latency") == measured:
            return {row["variant"]: row["latency_ms"] for row in document["rows"]}, measured
    except (FileNotFoundError, ValueError):
        pass
    by_key = measure_forward({keys[name]: recipe for name, recipe in recipes.items()}, num_classes, size, device)
    return {name: by_key[key] for name, key in keys.items()}, measured


def measure_forward(
    recipes: Mapping, num_classes: int, size: tuple[int, int], device: "torch.device"
) -> dict[str, float]:
    """Median milliseconds of the eager fp32 forward pass of one image of ``size`` (H, W), interleaved, by name."""
    import torch

    from lsabinet_core.benchmark.interleaved import time_interleaved
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.models import create_model

    image = torch.rand(1, 3, *size, device=device)
    networks = {
        name: create_model(recipe.model, num_classes, **recipe.model_options).to(device).eval()
        for name, recipe in recipes.items()
    }
    with Progress("measuring latency") as progress, torch.inference_mode():
        timings = time_interleaved(
            {name: lambda network=network: network(image) for name, network in networks.items()},
            rounds=LATENCY_ROUNDS,
            device=device,
            progress=progress.update,
        )
    return {name: timing.median_ms for name, timing in timings.items()}
