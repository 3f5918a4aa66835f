"""An ablation: variants of a recipe, each trained with the same seeds and compared with the first."""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsabinet_core.errors import RecipeError
from lsabinet_core.models.complexity import Cost
from lsabinet_core.text_table import Table, mean, percent

from .recipe import load_recipe
from .sweep import PlannedRun

COLUMNS = {
    "variant": lambda row: " ".join(row["changes"]) or "recipe as it is",
    "val mIoU %": lambda row: percent(row["miou"]),
    "spread": lambda row: percent(row["miou_spread"]),
    "difference": lambda row: "-" if row["is_base"] else percent(row["miou_difference"], signed=True),
    "mIoU %, paper's rule": lambda row: percent(row["miou_paper_rule"]),
    "runs": lambda row: f"{row['finished']}/{len(row['runs'])}" + (f", {row['failed']} failed" * bool(row["failed"])),
    "parameters": lambda row: f"{row['parameters']:,}",
    "GMACs": lambda row: f"{row['gmacs']:.3f}",
    "latency ms": lambda row: f"{row['latency_ms']:.1f}",
}


@dataclass(frozen=True)
class Variant:
    """A recipe with changes.

    Attributes:
        name: used for its table row and its folder.
        changes: overrides, as ``load_recipe`` takes them.
    """

    name: str
    changes: tuple[str, ...] = ()


def switch_variants(recipe: str | Path, overrides: Sequence[str], switches: Sequence[Sequence[str]]) -> list[Variant]:
    """The unchanged recipe, then one variant per element of ``switches`` (one or several ``key=value``).

    Raises:
        RecipeError: a switch is given twice or has no effect.
    """
    base = load_recipe(recipe, overrides)
    variants = [Variant("base")]
    for switch in switches:
        name = re.sub(r"[^\w.=+-]+", "_", " ".join(switch)).strip("_")
        if name in [variant.name for variant in variants]:
            raise RecipeError(f"duplicate switch {name!r}: give each change once")
        if load_recipe(recipe, [*overrides, *switch]) == base:
            raise RecipeError(f"{', '.join(switch)}: this is already the value of the recipe")
        variants.append(Variant(name, tuple(switch)))
    return variants


def variant_runs(
    recipe: str | Path,
    overrides: Sequence[str],
    variants: Sequence[Variant],
    seeds: Sequence[int],
    dataset: str,
    split: str = "train",
    val_split: str = "val",
) -> list[PlannedRun]:
    """All variants with the first seed, then with the next. Raises RecipeError for an invalid override or change."""
    return [
        PlannedRun(
            f"{variant.name}/seed{seed}",
            load_recipe(recipe, [*overrides, *variant.changes, f"seed={seed}"]),
            dataset,
            split,
            val_split,
        )
        for seed in seeds
        for variant in variants
    ]


def ablation_table(
    variants: Sequence[Variant],
    runs: Sequence[dict],
    costs: Mapping[str, Cost],
    latencies_ms: Mapping[str, float],
    facts: dict,
) -> Table:
    """One row per variant, aggregated over its seeds.

    Args:
        variants: the first one is the baseline of the comparison.
        runs: ``run_rows`` of ``variant_runs``.
        costs: cost of each variant's network, by variant name.
        latencies_ms: forward-pass latency of each variant's network in milliseconds, by variant name.
        facts: ``recipe``, ``dataset``, ``split``, ``val_split``, ``seeds``, and ``latency`` with ``size``, ``device``
            and ``threads``.

    Returns:
        Rows of JSON values, fractions in 0..1, None for missing figures: ``miou``, the mean over the finished runs;
        ``miou_spread``, the sample standard deviation over seeds; ``miou_difference`` to the first row, over the
        seeds that both have finished; ``runs`` and ``errors``, by seed.
    """
    by_variant = {
        variant.name: {run["seed"]: run for run in runs if run["run"] == f"{variant.name}/seed{run['seed']}"}
        for variant in variants
    }
    base = _mious(by_variant[variants[0].name])
    rows = []
    for variant in variants:
        seeds, cost = by_variant[variant.name], costs[variant.name]
        mious = _mious(seeds)
        errors = {str(seed): run["error"] for seed, run in seeds.items() if run["error"]}
        rows.append(
            {
                "variant": variant.name,
                "is_base": variant is variants[0],
                "changes": list(variant.changes),
                "miou": mean(mious.values()),
                "miou_spread": statistics.stdev(mious.values()) if len(mious) > 1 else None,
                "miou_difference": mean(miou - base[seed] for seed, miou in mious.items() if seed in base),
                "miou_paper_rule": mean(run["val_miou_paper_rule"] for run in seeds.values()),
                "finished": sum(run["state"] == "finished" for run in seeds.values()),
                "failed": len(errors),
                "errors": errors,
                "runs": {str(seed): run for seed, run in seeds.items()},
                "parameters": cost.parameters,
                "gmacs": round(cost.gmacs, 6),
                "latency_ms": round(latencies_ms[variant.name], 3),
            }
        )
    return Table(rows, COLUMNS, words=("variant",), notes=_notes(facts), facts=facts)


def _mious(runs: Mapping[int, dict]) -> dict[int, float]:
    return {seed: run["val_miou"] for seed, run in runs.items() if run["val_miou"] is not None}


def _notes(facts: dict) -> list[str]:
    measured = facts["latency"]
    height, width = measured["size"]
    return [
        f"Recipe {facts['recipe']}, {facts['dataset']} {facts['split']} -> {facts['val_split']}, "
        f"seeds {', '.join(map(str, facts['seeds']))}. mIoU: mean over the finished runs, at their end; spread: sample "
        "standard deviation over seeds; difference: points to the first row, over the seeds that both have. The "
        "paper's rule leaves out classes that were never predicted correctly.",
        f"GMACs of convolutions at {height}x{width}. Latency: median of the eager fp32 forward pass of one such image, "
        f"all networks interleaved ({measured['device']}, {measured['threads']} threads).",
    ]
