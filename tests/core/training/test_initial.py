"""Runs that start from trained weights."""

import dataclasses

import pytest
import torch

from lsabinet_core.errors import RecipeError, WeightsError
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights
from lsabinet_core.training.initial import start_from_weights
from lsabinet_core.training.recipe import Recipe, load_recipe


@pytest.fixture
def weights(tmp_path):
    """A weights file of LSA-BiNet without RCAD, and the network stored in it."""
    torch.manual_seed(1)
    network = create_model("lsabinet", len(CAMVID), rcad=False)
    metadata = WeightsMetadata("lsabinet", CAMVID, (72, 96), (0.5,) * 3, (0.2,) * 3, options={"rcad": False})
    save_weights(tmp_path / "trained.safetensors", network, metadata, dtype=torch.float32)
    return tmp_path / "trained.safetensors", network.state_dict()


def start(recipe, label_set):
    torch.manual_seed(2)
    network = create_model(recipe.model, len(label_set), **recipe.model_options)
    random = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    return start_from_weights(network, recipe, label_set), network.state_dict(), random


def check_loaded(tensors, trained, random, fresh):
    """All tensors are those of the weights, except random ones in the parts ``fresh``."""
    for key, tensor in tensors.items():
        assert torch.equal(tensor, (random if key.startswith(tuple(fresh)) else trained)[key]), key


def test_weights_of_same_classes_load_every_tensor(weights):
    file, trained = weights
    recipe = Recipe(initial_weights=str(file), model_options={"rcad": False, "svfm": True})
    fresh, tensors, _ = start(recipe, CAMVID)
    assert fresh == []
    assert all(torch.equal(tensors[key], trained[key]) for key in trained)


def test_weights_of_other_classes_keep_the_new_classifier(weights):
    file, trained = weights
    fresh, tensors, random = start(Recipe(initial_weights=str(file), model_options={"rcad": False}), CITYSCAPES)
    assert fresh == ["decoder"]
    assert {tensor.shape[0] for key, tensor in tensors.items() if key.startswith("decoder")} == {19}
    check_loaded(tensors, trained, random, fresh)


def test_other_classes_of_the_same_number_keep_the_new_classifier(weights):
    file, trained = weights
    names = [f"class {index}" for index in range(len(CAMVID))]
    renamed = dataclasses.replace(CAMVID, names=tuple(names))
    fresh, tensors, random = start(Recipe(initial_weights=str(file), model_options={"rcad": False}), renamed)
    assert fresh == ["decoder"]
    check_loaded(tensors, trained, random, fresh)


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [({}, ["decoder"]), ({"model_options": {"svfm": False}}, ["decoder"]), ({"model": "dabnet"}, ["classify"])],
)
def test_network_that_shares_most_layers_loads_these(weights, recipe, parts):
    file, trained = weights
    fresh, tensors, random = start(Recipe(initial_weights=str(file), **recipe), CAMVID)
    assert fresh == parts
    check_loaded(tensors, trained, random, fresh)


def test_weights_of_another_network_are_rejected(weights, tmp_path):
    file, _ = weights
    with pytest.raises(RecipeError, match=r"initial_weights: expected .* of enet or .*, got lsabinet rcad=False in"):
        start(Recipe(model="enet", initial_weights=str(file)), CAMVID)
    with pytest.raises(WeightsError, match="no weights"):
        start(Recipe(initial_weights=str(tmp_path / "none.safetensors")), CAMVID)


def test_camvid_cpu_starts_from_rendered_scenes():
    recipe = load_recipe("camvid_cpu", [])
    assert recipe.initial_weights == "lsabinet_synthetic"
    fresh, _, _ = start(recipe, CAMVID)
    assert fresh == []
