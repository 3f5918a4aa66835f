"""Splits depthwise convolutions with several outputs per channel: fast CPU kernels support one output per channel.

before   pointwise(depthwise(x))                    C -> 2C -> D
after    sum of pointwise_k(depthwise_k(x))         C -> C -> D, twice
"""

from functools import reduce
from itertools import pairwise
from typing import TypeGuard

import torch
from torch import Tensor, nn


class SplitDepthwise(nn.Module):
    """A depthwise convolution C -> K C and the 1x1 convolution after it: (N, C, H, W) -> (N, D, h, w)."""

    def __init__(self, depthwise: nn.Conv2d, pointwise: nn.Conv2d):
        super().__init__()
        times = depthwise.out_channels // depthwise.in_channels
        self.depthwise = nn.ModuleList(_part(depthwise, slice(k, None, times), slice(None)) for k in range(times))
        parts = [_part(pointwise, slice(None), slice(k, None, times)) for k in range(times)]
        for rest in parts[1:]:
            # Only one term of the sum may add the bias.
            rest.bias = None
        self.pointwise = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        terms = (pointwise(depthwise(x)) for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True))
        return reduce(torch.add, terms)


def split_depthwise(model: nn.Module) -> None:
    """Replace every such pair in a Sequential, in place."""
    for sequence in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(pairwise(list(sequence))):
            if _widens(first) and isinstance(second, nn.Conv2d) and second.kernel_size == (1, 1) and second.groups == 1:
                sequence[index] = SplitDepthwise(first, second)
                sequence[index + 1] = nn.Identity()


def _widens(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(conv, nn.Conv2d) and conv.out_channels > conv.in_channels == conv.groups > 1


def _pair(sides: tuple[int, ...]) -> tuple[int, int]:
    height, width = sides
    return height, width


def _part(conv: nn.Conv2d, outputs: slice, inputs: slice) -> nn.Conv2d:
    """The part of a convolution from some of the inputs to some of the outputs."""
    weight = conv.weight.detach()[outputs, inputs].clone()
    part = nn.Conv2d(
        weight.shape[1] if conv.groups == 1 else conv.in_channels,
        len(weight),
        _pair(conv.kernel_size),
        stride=_pair(conv.stride),
        padding=conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
        dilation=_pair(conv.dilation),
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    part.weight = nn.Parameter(weight, requires_grad=False)
    if conv.bias is not None:
        part.bias = nn.Parameter(conv.bias.detach()[outputs].clone(), requires_grad=False)
    return part
