"""A zoo of networks, all trained with the same recipe, on the same batches, for the same number of iterations.

The order and augmentation of the images depend on the seed only, so networks with the same seed train on the same
pixels. The runs are ordered by the network's multiply-accumulates, the cheapest first.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.models import create_model
from lsabinet_core.models.complexity import network_cost
from lsabinet_core.text_table import Table, number, percent

from .auxiliary import Supervised
from .recipe import Recipe, load_recipe
from .shuffle import EpochShuffle
from .sweep import PlannedRun

COLUMNS = {
    "network": lambda row: row["model"],
    "seed": lambda row: str(row["seed"]),
    "val mIoU %": lambda row: percent(row["val_miou"]),
    "mIoU %, paper's rule": lambda row: percent(row["val_miou_paper_rule"]),
    "parameters": lambda row: f"{row['parameters']:,}",
    "GMACs": lambda row: f"{row['gmacs']:.3f}",
    "iterations": lambda row: str(row["iterations"] or "-"),
    "seconds": lambda row: number(row["seconds"], 0),
    "state": lambda row: row["state"],
}


class Zoo:
    """The runs of a zoo: all networks with one seed, then with the next.

    Args:
        recipe: name of a shipped recipe or YAML file; its model is replaced by each of ``models``.
        overrides: overrides of the recipe, as for ``load_recipe``.
        models: names of networks.
        seeds: each network is trained once per seed.
        train: training split.
        val: validation split.
        iterations: iterations of each run, rounded up to whole epochs; None: the recipe's epochs.

    Raises:
        ModelError: a network does not exist.
        RecipeError: an override is invalid, or one of the networks lacks something that the recipe needs.
    """

    def __init__(
        self,
        recipe: str | Path,
        overrides: Sequence[str],
        models: Sequence[str],
        seeds: Sequence[int],
        train: SegmentationDataset,
        val: SegmentationDataset,
        iterations: int | None = None,
    ):
        base, classes = load_recipe(recipe, overrides), len(train.label_set)
        self.budget = budget(base, len(train), iterations)
        for model in models:
            # Detect a network without auxiliary heads before any training starts.
            with torch.device("meta"):
                Supervised(create_model(model, classes), classes, heads=base.auxiliary_weight > 0)
        self._costs = {model: network_cost(model, classes, base.input_size) for model in models}
        common = {"model_options": {}, "epochs": self.budget["epochs"]}
        self.runs = [
            PlannedRun(
                f"{model}_seed{seed}",
                base.model_copy(update={**common, "model": model, "seed": seed}),
                train.name,
                train.split,
                val.split,
            )
            for seed in seeds
            for model in sorted(models, key=lambda model: self._costs[model].gmacs)
        ]
        self.facts = {
            "recipe": str(recipe),
            "overrides": list(overrides),
            "dataset": train.name,
            "split": train.split,
            "val_split": val.split,
            "seeds": list(seeds),
            "classes": classes,
            "input_size": list(base.input_size),
            "crop_size": list(base.augmentation.crop_size),
            **self.budget,
        }

    def table(self, rows: Sequence[dict], machine: dict) -> Table:
        """Table of ``run_rows`` and each network's cost; ``machine`` has ``device`` (its name) and ``threads``."""
        facts = {**self.facts, **machine}
        costs = [self._costs[row["model"]] for row in rows]
        rows = [
            {**row, "parameters": cost.parameters, "gmacs": round(cost.gmacs, 6)}
            for row, cost in zip(rows, costs, strict=True)
        ]
        return Table(rows, COLUMNS, words=("network", "state"), notes=_notes(facts), facts=facts)


def budget(recipe: Recipe, images: int, iterations: int | None = None) -> dict[str, int]:
    """``epochs``, ``iterations`` and augmented ``images`` of a run on a data set of ``images`` images.

    The recipe's epochs, or the smallest number of whole epochs with at least ``iterations``.
    """
    one = EpochShuffle(images, recipe.batch_size, 1, recipe.seed, 0)
    epochs = recipe.epochs if iterations is None else -(-iterations // one.epoch_iterations)
    total = epochs * one.epoch_iterations
    return {"epochs": epochs, "iterations": total, "images": total * one.batch_size}


def _notes(facts: dict) -> list[str]:
    size, crop = ("x".join(map(str, facts[key])) for key in ("input_size", "crop_size"))
    changed = f" with {', '.join(facts['overrides'])}" if facts["overrides"] else ""
    return [
        f"Recipe {facts['recipe']}{changed}, the same for every network: {facts['iterations']:,} iterations, "
        f"{facts['images']:,} augmented crops of {crop}, {facts['epochs']} epochs of {facts['dataset']} "
        f"{facts['split']}, from random weights.",
        f"mIoU: {facts['dataset']} {facts['val_split']}, whole images at {size}, one scale, weights at the end of the "
        "run. The paper's rule leaves out classes that were never predicted correctly.",
        f"Parameters and GMACs (convolutions and matrix products): {facts['classes']} classes, {size}. Seconds: "
        f"training time on {facts['device']}, {facts['threads']} CPU threads.",
    ]
