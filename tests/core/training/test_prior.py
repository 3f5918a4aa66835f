"""Logit adjustment, merged into the classifier's bias."""

import numpy as np
import pytest
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.errors import RecipeError
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import load_weights
from lsabinet_core.training.prior import with_adjusted_prior
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.trainer import Trainer

WEIGHTS = np.array([1.5, 4.0, 9.0], np.float32)


def test_logits_are_lowered_by_log_weights():
    torch.manual_seed(0)
    network = create_model("lsabinet", 3).double().eval()
    image = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        before, after = network(image), with_adjusted_prior(network, WEIGHTS, 0.75)(image)
    expected = before - 0.75 * torch.tensor(WEIGHTS).log()[None, :, None, None]
    assert torch.allclose(after, expected, atol=1e-5)


def test_original_network_is_unchanged():
    network = create_model("lsabinet", 3)
    before = [parameter.clone() for parameter in network.parameters()]
    with_adjusted_prior(network, WEIGHTS, 1.0)
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))


def test_adjustment_restores_posteriors():
    """An optimally trained network with weights w predicts p(c) w(c) / Z; the adjustment restores p."""
    frequencies = np.array([0.7, 0.25, 0.05])
    weighted = frequencies * WEIGHTS
    network = torch.nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.copy_(torch.from_numpy(np.log(weighted)))
        found = with_adjusted_prior(network, WEIGHTS, 1.0)(torch.zeros(1, 3, 1, 1)).softmax(1).flatten()
    assert found.numpy() == pytest.approx(frequencies, abs=1e-6)


def test_network_without_bias_is_rejected():
    with pytest.raises(RecipeError, match="prior_adjustment"):
        with_adjusted_prior(torch.nn.Conv2d(3, 3, 1, bias=False), WEIGHTS, 1.0)


def test_network_with_output_activation_is_rejected():
    with pytest.raises(RecipeError, match="prior_adjustment"):
        with_adjusted_prior(create_model("lcnet", 3), WEIGHTS, 1.0)


def test_run_validates_and_saves_the_adjusted_network(small_camvid, tmp_path):
    trained, adjusted = (_train(small_camvid, tmp_path / str(strength), strength) for strength in (0.0, 1.0))
    first, second = (load_weights(path)[0].state_dict() for path in (trained, adjusted))
    changed = [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]
    assert len(changed) == 1
    assert changed[0].endswith(".bias")


def _train(root, out, strength):
    overrides = ["epochs=1", "batch_size=4", "precision=fp32", "compile=false"]
    overrides += ["augmentation.crop_size=[64,64]", f"prior_adjustment={strength}", "ema_decay=0"]
    recipe = load_recipe("camvid_cpu", overrides)
    train, val = (open_dataset("camvid", root, split) for split in ("train", "val"))
    run = RunFolder(out)
    run.create(recipe, {})
    Trainer(recipe, train, val, run, device=torch.device("cpu"), workers=0).fit()
    return run.last
