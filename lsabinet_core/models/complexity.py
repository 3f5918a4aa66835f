"""Model complexity: parameters and multiply-accumulate operations."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lsabinet_core.models import create_model


def count_parameters(model: nn.Module) -> int:
    """Count all parameters, including frozen ones; running statistics are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_spare_parameters(model: nn.Module) -> int:
    """Count the frozen parameters of a new network: no output depends on them, but the published count has them."""
    return sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)


@torch.no_grad()
def count_macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Count the multiply-accumulates of convolutions and matrix products for one image of ``size`` (H, W).

    FLOPs are twice as many. Normalisation, activations, pooling and resizing are not counted. The count uses meta
    tensors, so nothing is computed.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    # Not counted, but on meta tensors they take longer than all other layers.
    for parent in list(shadow.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    with FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() // 2


@dataclass(frozen=True)
class Cost:
    """The computational cost of a network.

    Attributes:
        parameters: number of parameters.
        spare_parameters: number of parameters that no output depends on.
        gmacs: billions of multiply-accumulates for one image.
    """

    parameters: int
    spare_parameters: int
    gmacs: float


def network_cost(name: str, num_classes: int, size: tuple[int, int], options: Mapping[str, bool] | None = None) -> Cost:
    """Cost of a network for images of ``size`` (H, W); nothing is allocated, initialised or computed.

    Raises:
        ModelError: there is no such network, or it does not accept the size.
    """
    with torch.device("meta"):
        model = create_model(name, num_classes, **(options or {}))
    return Cost(count_parameters(model), count_spare_parameters(model), count_macs(model, size) / 1e9)
