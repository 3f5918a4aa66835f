"""Which variants of a recipe an ablation trains, and the figures that come of them."""

import itertools
import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lsabinet_core.errors import RecipeError
from lsabinet_core.models import create_model
from lsabinet_core.models.complexity import count_macs, count_parameters
from lsabinet_core.models.paper import TABLES

from .campaign import RunRecord
from .recipe import Recipe, load_recipe

MODULES = ("lrfa", "svfm", "rcad")


@dataclass(frozen=True)
class Variant:
    """A recipe with something changed.

    Attributes:
        name: of its row and of its folder.
        changes: overrides, as ``load_recipe`` takes them.
        modules: those that are on, where the modules are what is varied; else None.
    """

    name: str
    changes: tuple[str, ...] = ()
    modules: frozenset[str] | None = None

    @property
    def paper(self) -> tuple[str, str] | None:
        """Parameters (millions) and operations (G) as the paper prints them, where it prints this variant."""
        printed = None if self.modules is None else TABLES[4].rows.get(self.name)
        return printed and (printed.parameters_m.text, printed.flops_g.text)


@dataclass(frozen=True)
class Cost:
    """What a variant's network costs: parameters, GMACs of its convolutions, milliseconds of a forward pass."""

    parameters: int
    gmacs: float
    latency_ms: float


@dataclass
class Row:
    """A variant with its cost and, by seed, its runs and why those that failed did."""

    variant: Variant
    cost: Cost
    runs: dict[int, RunRecord] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def mious(self) -> dict[int, float]:
        """Standard mIoU in 0..1 of each finished run that has one."""
        finished = {seed: run.val_miou for seed, run in self.runs.items() if run.state == "finished"}
        return {seed: miou for seed, miou in finished.items() if miou is not None}

    @property
    def mean(self) -> float | None:
        return _mean(self.mious.values())

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the seeds; None for fewer than two."""
        values = list(self.mious.values())
        return statistics.stdev(values) if len(values) > 1 else None

    @property
    def mean_paper_rule(self) -> float | None:
        return _mean(run.val_miou_paper_rule for run in self.runs.values() if run.state == "finished")

    def difference(self, base: "Row") -> float | None:
        """Mean mIoU over that of ``base``, over the seeds that both have finished."""
        return _mean(miou - base.mious[seed] for seed, miou in self.mious.items() if seed in base.mious)


def module_variants() -> list[Variant]:
    """The eight on/off combinations of LRFA, SVFM and RCAD: none, one, two, all."""
    variants = []
    for count in range(len(MODULES) + 1):
        for chosen in itertools.combinations(MODULES, count):
            changes = tuple(f"model_options.{name}={str(name in chosen).lower()}" for name in MODULES)
            variants.append(Variant("+".join(chosen) or "baseline", changes, frozenset(chosen)))
    return variants


def switch_variants(switches: Sequence[Sequence[str]]) -> list[Variant]:
    """The recipe as it is, then with each of ``switches`` alone: one or several ``key=value`` of the same purpose."""
    variants = [Variant("base"), *(Variant(_folder_name(switch), tuple(switch)) for switch in switches)]
    names = [variant.name for variant in variants]
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(f"two switches are called {name!r}: give each change once")
    return variants


def variant_recipes(
    recipe: str | Path, overrides: Sequence[str], variants: Sequence[Variant], seeds: Sequence[int]
) -> dict[tuple[str, int], Recipe]:
    """The recipe of every variant and seed, by (variant's name, seed).

    Raises:
        RecipeError: an override or a change is wrong, a change changes nothing, or the modules of a network are to be
            varied that has none.
    """
    base = load_recipe(recipe, overrides)
    recipes = {}
    for variant in variants:
        if variant.modules is not None and base.model != "lsabinet":
            raise RecipeError(f"the modules to leave out are those of lsabinet, the recipe's model is {base.model}")
        if variant.modules is None and variant.changes and load_recipe(recipe, [*overrides, *variant.changes]) == base:
            raise RecipeError(f"{', '.join(variant.changes)}: the recipe has this value already")
        for seed in seeds:
            recipes[variant.name, seed] = load_recipe(recipe, [*overrides, *variant.changes, f"seed={seed}"])
    return recipes


def network_cost(recipe: Recipe, num_classes: int, latency_ms: float = math.nan) -> Cost:
    """What the recipe's network costs at its input size, without the heads that only the training has."""
    network = create_model(recipe.model, num_classes, **recipe.model_options)
    return Cost(count_parameters(network), count_macs(network, recipe.input_size) / 1e9, latency_ms)


def _mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _folder_name(switch: Sequence[str]) -> str:
    return re.sub(r"[^\w.=+-]+", "_", " ".join(switch)).strip("_")
