"""Depthwise convolutions that make several channels of each, for CPUs, whose fast kernels make one.

before   pointwise(depthwise(x))                    C -> 2C -> D
after    sum of pointwise_k(depthwise_k(x))         C -> C -> D, twice
"""

from itertools import pairwise

from torch import Tensor, nn


class SplitDepthwise(nn.Module):
    """A depthwise convolution C -> K C and the 1x1 convolution after it: (N, C, H, W) -> (N, D, h, w)."""

    def __init__(self, depthwise: nn.Conv2d, pointwise: nn.Conv2d):
        super().__init__()
        times = depthwise.out_channels // depthwise.in_channels
        self.depthwise = nn.ModuleList(_part(depthwise, slice(k, None, times), slice(None)) for k in range(times))
        self.pointwise = nn.ModuleList(_part(pointwise, slice(None), slice(k, None, times)) for k in range(times))
        for rest in self.pointwise[1:]:
            # One of the sum carries the bias.
            rest.bias = None

    def forward(self, x: Tensor) -> Tensor:
        return sum(pointwise(depthwise(x)) for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True))


def split_depthwise(model: nn.Module) -> None:
    """Replace, in place, every such pair in a Sequential."""
    for sequence in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for index, (first, second) in enumerate(pairwise(list(sequence))):
            if _widens(first) and isinstance(second, nn.Conv2d) and second.kernel_size == (1, 1) and second.groups == 1:
                sequence[index] = SplitDepthwise(first, second)
                sequence[index + 1] = nn.Identity()


def _widens(conv: nn.Module) -> bool:
    return isinstance(conv, nn.Conv2d) and conv.out_channels > conv.in_channels == conv.groups > 1


def _part(conv: nn.Conv2d, outputs: slice, inputs: slice) -> nn.Conv2d:
    """The convolution from some of the inputs to some of the outputs."""
    weight = conv.weight.detach()[outputs, inputs].clone()
    part = nn.Conv2d(
        weight.shape[1] if conv.groups == 1 else conv.in_channels,
        len(weight),
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    part.weight = nn.Parameter(weight, requires_grad=False)
    if conv.bias is not None:
        part.bias = nn.Parameter(conv.bias.detach()[outputs].clone(), requires_grad=False)
    return part
