"""How large a network is: parameters and multiply-accumulates."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, the frozen ones of published counts included; running statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_spare_parameters(model: nn.Module) -> int:
    """Those of a fresh network that no output depends on: published code has them, and so its count; frozen here."""
    return sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)


@torch.no_grad()
def count_macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image of ``size`` (H, W); FLOPs are twice that.

    Normalisation, activations, pooling and resizing are not counted. Counted on meta tensors: nothing is computed.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() // 2
