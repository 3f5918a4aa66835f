"""LSA-BiNet against the paper's parameter and operation counts, and with unusual inputs."""

import copy

import pytest
import torch
from torch import nn

from lsabinet_core.errors import ModelError
from lsabinet_core.models import create_model, list_models
from lsabinet_core.models.complexity import count_macs, count_parameters

# (lrfa, svfm, rcad): parameters for 11 classes, for 19 classes, GMACs by the thop rule at 360x480x11 and 512x1024x19.
TABLE = {
    (False, False, False): (754_571, 756_643, 3.490, 10.607),
    (True, False, False): (798_606, 800_678, 3.504, 10.649),
    (False, True, False): (1_435_482, 1_437_554, 5.136, 15.600),
    (False, False, True): (1_115_913, 1_116_969, 7.151, 21.731),
    (True, True, False): (1_479_517, 1_481_589, 5.149, 15.642),
    (True, True, True): (1_840_859, 1_841_915, 8.810, 26.766),
}


def variant(classes: int, modules: tuple[bool, bool, bool], device: str = "meta") -> nn.Module:
    lrfa, svfm, rcad = modules
    with torch.device(device):
        return create_model("lsabinet", classes, lrfa=lrfa, svfm=svfm, rcad=rcad)


def thop_macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Count MACs as thop does: convolutions, 4 per batch normalisation value, 1 per PReLU or average pooling value.

    Pooling is counted as in DABNet's published code, which pools the original image for each of its three scales.
    """
    levels = [3 * -(-size[0] // stride) * -(-size[1] // stride) for stride in (2, 4, 8)]
    extra = 3 * levels[0] + 2 * levels[1] + levels[2]

    def count(module: nn.Module, _inputs, output: torch.Tensor) -> None:
        nonlocal extra
        extra += output.numel() * (4 if isinstance(module, nn.BatchNorm2d) else 1)

    shadow = copy.deepcopy(model).to("meta").eval()
    for module in shadow.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.PReLU)):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, 3, *size, device="meta"))
    return count_macs(model, size) + extra


@pytest.mark.parametrize("modules", TABLE)
def test_parameters_of_every_row(modules):
    assert count_parameters(variant(11, modules)) == TABLE[modules][0]
    assert count_parameters(variant(19, modules)) == TABLE[modules][1]


@pytest.mark.parametrize("modules", TABLE)
def test_operations_of_every_row(modules):
    assert thop_macs(variant(11, modules), (360, 480)) / 1e9 == pytest.approx(TABLE[modules][2], abs=6e-4)
    assert thop_macs(variant(19, modules), (512, 1024)) / 1e9 == pytest.approx(TABLE[modules][3], abs=6e-4)


def test_convolution_macs():
    assert count_macs(create_model("lsabinet", 11), (360, 480)) / 1e9 == pytest.approx(8.655, abs=5e-4)
    assert count_macs(create_model("lsabinet", 19), (512, 1024)) / 1e9 == pytest.approx(26.298, abs=5e-4)


@pytest.mark.parametrize("size", [(64, 64), (65, 91), (71, 64), (101, 133), (127, 255)])
@pytest.mark.parametrize("modules", TABLE)
@torch.no_grad()
def test_any_size_of_64_and_more(size, modules):
    model = variant(11, modules, "cpu").eval()
    logits = model(torch.randn(1, 3, *size))
    assert logits.shape == (1, 11, *size)
    assert torch.isfinite(logits).all()
    stride = 4 if modules[2] else 8
    low = model.low_resolution_logits(torch.randn(1, 3, *size))
    assert low.shape == (1, 11, -(-size[0] // stride), -(-size[1] // stride))


def test_dabnet_is_the_baseline_row():
    assert count_parameters(create_model("dabnet", 11)) == 754_571


def test_every_parameter_learns():
    # The variance path starts at beta = 0, so only beta receives its gradient; every parameter still has one.
    model = create_model("lsabinet", 11)
    model(torch.randn(2, 3, 96, 96)).square().mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize("shape", [(1, 3, 63, 200), (1, 4, 64, 64), (3, 64, 64)])
def test_invalid_inputs(shape):
    with pytest.raises(ModelError, match="at least 64"):
        create_model("lsabinet", 11)(torch.zeros(shape))


def test_unknown_names_and_options():
    assert {"lsabinet", "dabnet"} <= set(list_models())
    with pytest.raises(ModelError, match="unknown model 'segformer': choose one of lsabinet"):
        create_model("segformer", 11)
    with pytest.raises(ModelError, match="no option 'lrfb': its options are lrfa, svfm, rcad"):
        create_model("lsabinet", 11, lrfb=True)
    for classes in (0, 256):
        with pytest.raises(ModelError, match=f"num_classes from 1 to 255, got {classes}"):
            create_model("lsabinet", classes)
