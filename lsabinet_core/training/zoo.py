"""A trained zoo: every network by the same recipe, on the same batches, for the same number of iterations.

OUT/cgnet_seed1        an ordinary run, NETWORK_seedN for each network and seed
OUT/table.json         what was trained and for how long, and ``rows``, one for each run (``zoo_table.document``)
OUT/table.md, .csv     the same for people and spreadsheets

The order of the images and their augmentation follow from the seed alone, so that networks with the same seed have seen
the same pixels. The smallest come first, by multiply-accumulates: those that a short time is enough for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.models import create_model

from .ablation import Cost, network_cost
from .auxiliary import Supervised
from .campaign import PlannedRun, RunRecord, read_run
from .recipe import Recipe, load_recipe
from .shuffle import EpochShuffle


@dataclass(frozen=True)
class Budget:
    """What every network is given alike.

    Attributes:
        epochs: passes over the images.
        iterations: steps of gradient descent.
        images: augmented views seen in these.
    """

    epochs: int
    iterations: int
    images: int


@dataclass(frozen=True)
class ZooRow:
    """One network with one seed.

    Attributes:
        planned: its run.
        cost: of its network, without latency.
        record: what the run's folder tells.
        error: why it could not go on, this time; None where nothing was wrong.
    """

    planned: PlannedRun
    cost: Cost
    record: RunRecord
    error: str | None = None

    @property
    def state(self) -> str:
        """``waiting``, ``unfinished``, ``failed`` or ``finished``."""
        return "failed" if self.error else self.record.state

    @property
    def val_miou(self) -> float | None:
        """Standard mIoU in 0..1 of the finished run: a figure of part of the budget is not one of the whole."""
        return self.record.val_miou if self.state == "finished" else None

    @property
    def val_miou_paper_rule(self) -> float | None:
        return self.record.val_miou_paper_rule if self.state == "finished" else None


class Zoo:
    """The runs of a zoo, smallest network first, and all networks with one seed before the next seed.

    Args:
        recipe: shipped name or YAML file; the model that it names has no part.
        overrides: of the recipe, as ``load_recipe`` takes them.
        models: names of networks.
        seeds: every network is trained with each.
        train: learned from.
        val: measured on.
        iterations: of every network, rounded up to whole epochs; None: the recipe's epochs.

    Raises:
        ModelError: there is no such network.
        RecipeError: an override is wrong, or the recipe asks for what one of the networks has not.
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
        base = load_recipe(recipe, overrides)
        self.budget = budget(base, len(train), iterations)
        classes = len(train.label_set)
        alike = base.model_copy(update={"model_options": {}, "epochs": self.budget.epochs})
        self.costs = {model: _cost(alike.model_copy(update={"model": model}), classes) for model in models}
        self.runs = [
            PlannedRun(
                f"{model}_seed{seed}",
                alike.model_copy(update={"model": model, "seed": seed}),
                train.name,
                train.split,
                val.split,
            )
            for seed in seeds
            for model in sorted(models, key=lambda model: self.costs[model].gmacs)
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
            **vars(self.budget),
        }

    def rows(self, folder: Path, errors: Mapping[str, str] = {}) -> list[ZooRow]:
        """What the folders tell, in the order of ``runs``; ``errors`` by the runs' names."""
        return [
            ZooRow(planned, self.costs[planned.recipe.model], read_run(folder / planned.name), errors.get(planned.name))
            for planned in self.runs
        ]


def budget(recipe: Recipe, images: int, iterations: int | None = None) -> Budget:
    """The budget of a recipe on a data set of ``images``, or the whole epochs that hold ``iterations``."""
    one = EpochShuffle(images, recipe.batch_size, 1, recipe.seed, 0)
    epochs = recipe.epochs if iterations is None else -(-iterations // one.epoch_iterations)
    total = epochs * one.epoch_iterations
    return Budget(epochs, total, total * one.batch_size)


def _cost(recipe: Recipe, num_classes: int) -> Cost:
    # On the meta device nothing is allocated, initialised or computed.
    with torch.device("meta"):
        # Says which network has no auxiliary heads, before any is trained.
        Supervised(create_model(recipe.model, num_classes), num_classes, heads=recipe.auxiliary_weight > 0)
        return network_cost(recipe, num_classes)
