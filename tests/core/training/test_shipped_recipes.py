"""The shipped recipes: all load, and those of the paper have the paper's settings."""

import math

import pytest
import torch

from lsabinet_core.models import create_model
from lsabinet_core.training.losses import OhemCrossEntropy, create_loss
from lsabinet_core.training.recipe import Recipe, load_recipe, recipe_names, save_recipe

# Every setting of the paper's two trainings that affects the computation, by dotted key.
BOTH = {
    "model": "lsabinet",
    "model_options": {},
    "class_weights": True,
    "schedule.warmup_iterations": 500,
    "schedule.warmup_factor": pytest.approx(1 / 3, abs=1e-12),
    "schedule.power": 0.9,
    "augmentation.scales": (0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    "augmentation.mirror": 0.5,
    "epochs": 1000,
    "auxiliary_weight": 0,
    "ema_decay": 0,
    "precision": "fp32",
}
PAPER = {
    "paper_camvid": {
        **BOTH,
        "loss": "cross_entropy",
        "optimizer.name": "adam",
        "optimizer.lr": 1e-3,
        "optimizer.betas": (0.9, 0.999),
        "optimizer.weight_decay": 2e-4,
        "batch_size": 16,
        "augmentation.crop_size": (360, 480),
        "input_size": (360, 480),
    },
    "paper_cityscapes": {
        **BOTH,
        "loss": "ohem",
        "optimizer.name": "sgd",
        "optimizer.lr": 4.5e-2,
        "optimizer.momentum": 0.9,
        "optimizer.weight_decay": 1e-4,
        "batch_size": 8,
        "augmentation.crop_size": (512, 1024),
        "input_size": (1024, 2048),
    },
}


def setting(recipe: Recipe, key: str):
    value = recipe
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads_and_has_a_description(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.description
    (tmp_path / "again.yaml").write_text(save_recipe(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_shipped_recipe_names():
    assert {"camvid", "paper_camvid", "paper_cityscapes", "synthetic"} <= set(recipe_names())


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, values in PAPER.items() for key in values])
def test_recipe_has_the_values_of_the_paper(name, key):
    assert setting(load_recipe(name), key) == PAPER[name][key]


@pytest.mark.parametrize("name", PAPER)
def test_paper_recipes_use_no_extensions(name):
    """Every augmentation that the paper does not use is off, including any that are added later."""
    given = load_recipe(name).augmentation.model_dump()
    defaults = type(load_recipe(name).augmentation)().model_dump()
    own = {key for key, value in given.items() if value != defaults[key]}
    assert own <= {"crop_size", "scales", "mirror"}


def test_ohem_settings_of_the_cityscapes_recipe():
    """The loss created by the recipe keeps pixels with a probability below 0.7, and at least one pixel in 16."""
    loss = create_loss(load_recipe("paper_cityscapes").loss, None)
    assert isinstance(loss, OhemCrossEntropy)
    probabilities = torch.tensor([0.69] + [0.71] * 31)
    logits = torch.stack([probabilities.log(), (1 - probabilities).log()]).view(1, 2, 1, 32)
    labels = torch.zeros(1, 1, 32, dtype=torch.uint8)
    # Two of 32 pixels are kept: the hard pixel, and one of the equally easy ones, to reach one pixel in 16.
    kept = [0.69] + [0.71] * 31
    assert loss(logits, labels).item() == pytest.approx(-sum(map(math.log, kept)) / len(kept), rel=1e-5)
    # Here one in 16 is a single pixel, the hard one.
    assert loss(logits[..., :16], labels[..., :16]).item() == pytest.approx(-math.log(0.69), rel=1e-5)


def test_batch_norm_settings_of_the_paper():
    norms = [module for module in create_model("lsabinet", 11).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.1)}
