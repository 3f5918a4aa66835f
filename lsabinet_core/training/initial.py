"""Initialisation from trained weights."""

from collections.abc import Iterable

import torch
from torch import nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import load_weights

from .recipe import Recipe

MIN_SHARE = 0.5
"""Share of the network's tensors that must come from the weights; below it, they are those of another network."""


@torch.no_grad()
def start_from_weights(model: nn.Module, recipe: Recipe, label_set: LabelSet) -> list[str]:
    """Load the tensors of ``recipe.initial_weights`` that have the same name and shape in ``model``.

    The other tensors of ``model`` keep their initial values: those of parts that the weights' network lacks, as DABNet
    lacks LSA-BiNet's modules, and, if the weights were trained on other classes than ``label_set``, those whose shape
    depends on the number of classes.

    Returns:
        The parts of ``model`` that were not loaded, such as ``decoder.classify``.

    Raises:
        WeightsError: the weights do not exist or the file is not a valid weights file.
        RecipeError: the weights belong to another network than the recipe's.
    """
    trained, metadata = load_weights(recipe.initial_weights)
    found, wanted = trained.state_dict(), model.state_dict()
    of_classes: set[str] = set()
    if metadata.label_set.names != label_set.names:
        more_classes = _shapes(recipe, len(label_set) + 1)
        of_classes = {key for key, tensor in wanted.items() if tensor.shape != more_classes[key]}
    fitting = {
        key: found[key]
        for key, tensor in wanted.items()
        if key not in of_classes and key in found and found[key].shape == tensor.shape
    }
    if len(fitting) < MIN_SHARE * len(wanted):
        raise RecipeError(
            f"initial_weights: expected weights of {_name(recipe.model, recipe.model_options)} or of a network that "
            f"shares most of its layers, got {_name(metadata.architecture, metadata.options)} in "
            f"{recipe.initial_weights}: use --set initial_weights= to start from random weights"
        )
    model.load_state_dict(fitting, strict=False)
    return list(dict.fromkeys(_part(key, fitting) for key in wanted if key not in fitting))


def _part(key: str, loaded: Iterable[str]) -> str:
    """The largest part of the network that contains the tensor ``key`` and nothing that was loaded."""
    names = key.split(".")
    parts = (".".join(names[:depth]) for depth in range(1, len(names)))
    return next((part for part in parts if not any(each.startswith(f"{part}.") for each in loaded)), key)


def _shapes(recipe: Recipe, classes: int) -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = create_model(recipe.model, classes, **recipe.model_options)
    return {key: tensor.shape for key, tensor in network.state_dict().items()}


def _name(model: str, options: dict[str, bool]) -> str:
    return " ".join([model, *(f"{key}={value}" for key, value in options.items())])
