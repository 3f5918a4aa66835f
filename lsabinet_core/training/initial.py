"""Initialisation from trained weights."""

import torch
from torch import nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import load_weights

from .recipe import Recipe


@torch.no_grad()
def start_from_weights(model: nn.Module, recipe: Recipe, label_set: LabelSet) -> list[str]:
    """Load ``recipe.initial_weights`` into ``model``.

    If the weights were trained on classes other than those of ``label_set``, the tensors whose shape depends on the
    number of classes keep their initial values.

    Returns:
        The names of the tensors that were not loaded.

    Raises:
        WeightsError: the weights do not exist or the file is not a valid weights file.
        RecipeError: the weights belong to another network than the recipe's.
    """
    trained, metadata = load_weights(recipe.initial_weights)
    classes = len(metadata.label_set)
    tensors, shapes = trained.state_dict(), _shapes(recipe, classes)
    if {key: tensor.shape for key, tensor in tensors.items()} != shapes:
        raise RecipeError(
            f"initial_weights: expected weights of {_name(recipe.model, recipe.model_options)}, got "
            f"{_name(metadata.architecture, metadata.options)} in {recipe.initial_weights}"
        )
    skipped = []
    if metadata.label_set.names != label_set.names:
        skipped = [key for key, shape in _shapes(recipe, classes + 1).items() if shape != shapes[key]]
    model.load_state_dict({key: tensor for key, tensor in tensors.items() if key not in skipped}, strict=False)
    return skipped


def _shapes(recipe: Recipe, classes: int) -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = create_model(recipe.model, classes, **recipe.model_options)
    return {key: tensor.shape for key, tensor in network.state_dict().items()}


def _name(model: str, options: dict[str, bool]) -> str:
    return " ".join([model, *(f"{key}={value}" for key, value in options.items())])
