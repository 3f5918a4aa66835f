"""All networks: parameter and operation counts, accepted sizes, and learning."""

import functools
import re
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo_cases import CAMVID, FULL, HALF, ZOO, ZooCase

from lsabinet_core.errors import ModelError
from lsabinet_core.models import create_model, list_models, model_class
from lsabinet_core.models.complexity import count_macs, count_parameters

CLASSES = 5

# Parameters in the published counts that no output depends on.
SPARE = {
    "enet": {"encoder_head.weight"},
    "espnetv2": {f"{down}.pyramid.activation.weight" for down in ("level2", "down3", "down4")},
}

# Number of images (default: 4; more if one value per image is normalised) and steps (default: 10) for the test that
# compares training mode with evaluation mode.
BATCHES = {"segnet": 2, "lednet": 8, "pidnet_s": 8}
STEPS = {"sqnet": 3, "segnet": 5}
# Additional forward passes in training mode, because the running statistics start at 0 and 1 and cover a tenth of the
# remaining distance per pass, and their error multiplies with every residual addition.
SETTLING = {
    **{"lsabinet": 10, "enet": 10, "cgnet": 10, "lcnet": 10, "segnet": 20, "erfnet": 20, "esnet": 20},
    **{"icnet": 30, "lednet": 30, "ddrnet23_slim": 30, "pidnet_s": 40},
}

each_case = pytest.mark.parametrize("case", ZOO, ids=lambda case: case.name)
each_network = pytest.mark.parametrize("name", [case.name for case in ZOO])


@functools.cache
def on_meta(name: str, classes: int, **options) -> nn.Module:
    """Create a network on the meta device, whose tensors have shapes but no data."""
    with torch.device("meta"):
        return create_model(name, classes, **options)


def quadrants(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Create noisy images of four fields with varying position, size and brightness, and their labels."""
    height, width = size
    labels = []
    for index in range(batch):
        row, column = (int(length * (0.25 + 0.5 * torch.rand(()))) for length in size)
        fields = 2 * (torch.arange(height)[:, None] >= row) + (torch.arange(width) >= column).long()
        labels.append((fields + index) % 4)
    labels = torch.stack(labels)
    colours = 2 * F.one_hot(labels, 4)[..., :3].permute(0, 3, 1, 2).float() - 1
    return colours + 0.3 * torch.randn(batch, 3, *size) + 0.5 * torch.randn(batch, 3, 1, 1), labels


def learn(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> list[float]:
    """Run ``steps`` SGD steps on one batch and return the loss before each step."""
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def logits_of_both_modes(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits in training mode without dropout, and in evaluation mode with the current statistics."""
    evaluated = model.eval()(images)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0
    return model(images), evaluated


def test_every_network_has_a_case():
    assert sorted(case.name for case in ZOO) == sorted(list_models())


@each_case
def test_parameters(case: ZooCase):
    for classes, expected in ((19, case.params_19), (11, case.params_11)):
        if expected is not None:
            assert count_parameters(on_meta(case.name, classes)) == expected
    if case.million_params is not None:
        assert round(count_parameters(on_meta(case.name, 19)) / 1e6, 2) == case.million_params


@each_case
def test_operations_and_shapes(case: ZooCase):
    model = on_meta(case.name, 19)
    shapes = []
    model.register_forward_hook(lambda _module, _inputs, logits: shapes.append(tuple(logits.shape)))
    # At twice HALF the count is four times as large; it is used only if no other count is known.
    known = {size: gmacs for size, gmacs in case.gmacs.items() if size != FULL or len(case.gmacs) == 1}
    sizes = list(dict.fromkeys([CAMVID, HALF, *known]))
    counted = {size: count_macs(model, size) / 1e9 for size in sizes}
    assert {size: counted[size] for size in known} == pytest.approx(known, rel=0.01)
    assert shapes == [(1, 19, *size) for size in sizes]
    # The counts stated in the module docstring.
    described = " ".join(sys.modules[type(model).__module__].__doc__.split())
    assert f"{count_parameters(model):,} parameters for 19 classes" in described
    (gmacs,) = re.findall(r"([\d.]+) GMACs at 512x1024", described)
    assert float(gmacs) == pytest.approx(counted[HALF], rel=1e-3)


@each_network
@torch.no_grad()
def test_few_classes(name):
    # ESPNet's decoder has a branch for each of the first five classes.
    for classes in (1, 2, 4) if name == "espnet" else (1,):
        logits = on_meta(name, classes).eval()(torch.empty(2, 3, 64, 64, device="meta"))
        assert logits.shape == (2, classes, 64, 64)


@each_network
@torch.no_grad()
def test_odd_sizes(name):
    model = create_model(name, CLASSES).eval()
    for size in ((64, 71), (101, 67)):
        image = torch.randn(1, 3, *size)
        logits, low = model(image), model.low_resolution_logits(image)
        assert logits.shape == (1, CLASSES, *size)
        assert torch.isfinite(logits).all()
        torch.testing.assert_close(F.interpolate(low, size, mode="bilinear"), logits)


@each_network
def test_gradients(name):
    """Every parameter receives a gradient."""
    torch.manual_seed(0)
    model = create_model(name, CLASSES)
    images, labels = quadrants(3, (64, 80))
    F.cross_entropy(model(images), labels).backward()
    idle = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert idle == SPARE.get(name, set())
    assert idle == {key for key, parameter in model.named_parameters() if not parameter.requires_grad}
    still = [key for key, parameter in model.named_parameters() if key not in idle and not parameter.grad.any()]
    assert still == []


@each_network
def test_evaluation_mode_agrees_with_training_mode(name):
    """Compare after a few steps, with the running statistics of these steps."""
    torch.manual_seed(0)
    model = create_model(name, CLASSES)
    images, labels = quadrants(BATCHES.get(name, 4), (64, 64))
    losses = learn(model, images, labels, STEPS.get(name, 10))
    with torch.no_grad():
        for _ in range(SETTLING.get(name, 0)):
            model(images)
    trained, evaluated = logits_of_both_modes(model, images)
    assert min(losses[1:]) < losses[0]
    assert F.cross_entropy(evaluated, labels) < F.cross_entropy(trained, labels) + 0.5
    assert 0.4 < evaluated.std() / trained.std() < 2.5
    assert torch.corrcoef(torch.stack([trained.flatten(), evaluated.flatten()]))[0, 1] > 0.5


def test_edanet_collapses_with_default_initialisation():
    """PyTorch's default initialisation shows the problem that ``reset_pairs`` solves."""
    torch.manual_seed(0)
    model = create_model("edanet", CLASSES)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    images, labels = quadrants(4, (64, 64))
    losses = learn(model, images, labels, 10)
    trained, evaluated = logits_of_both_modes(model, images)
    assert losses[-1] < losses[0] / 2
    assert F.cross_entropy(evaluated, labels) > F.cross_entropy(trained, labels) + 0.7
    assert evaluated.std() < 0.3 * trained.std()


@each_network
@torch.no_grad()
def test_features_for_training(name):
    model = on_meta(name, CLASSES)
    image = torch.empty(2, 3, 101, 77, device="meta")
    logits, features = model.with_features(image)
    assert logits.shape == model.low_resolution_logits(image).shape
    assert tuple(feature.shape[1] for feature in features) == model.auxiliary_channels
    if name in ("pidnet_s", "ddrnet23_slim"):
        # Their papers attach the auxiliary head to the detail branch.
        assert [tuple(feature.shape) for feature in features] == [(2, 64, 13, 10)]


@each_network
def test_invalid_inputs(name):
    model = on_meta(name, CLASSES)
    for method in (model, model.low_resolution_logits, model.with_features):
        with pytest.raises(ModelError, match="at least 64"):
            method(torch.empty(1, 3, 64, 63, device="meta"))


def test_variants_of_enet():
    head = 128 * 19
    assert count_parameters(on_meta("enet", 19, encoder_head=False)) == 360_422 - head
    assert count_parameters(on_meta("enet", 19, encoder_head=False, shared_prelu=False)) == 358_060
    model = create_model("enet", CLASSES, encoder_head=False, shared_prelu=False)
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


@torch.no_grad()
def test_dabnet_is_lsabinet_without_its_modules():
    dabnet = create_model("dabnet", CLASSES).eval()
    baseline = create_model("lsabinet", CLASSES, lrfa=False, svfm=False, rcad=False).eval()
    for ours, theirs in zip(dabnet.state_dict().values(), baseline.state_dict().values(), strict=True):
        ours.copy_(theirs)
    image = torch.randn(1, 3, 75, 64)
    assert torch.equal(dabnet(image), baseline(image))


@each_network
def test_every_network_names_its_paper(name):
    network = model_class(name)
    assert network.paper.endswith(str(network.year))
    assert "et al., " in network.paper
    assert 2015 <= network.year <= 2025


def test_names_are_known_without_importing_pytorch():
    code = "import sys, lsabinet_core.models as m; assert 'cgnet' in m.list_models(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
