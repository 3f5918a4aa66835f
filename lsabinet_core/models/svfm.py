"""Spatial Variance Fusion Module, LSA-BiNet eq. (3) to (8). 680,911 parameters for 259 channels:

    y, x  halves of conv1x1 of the input                                      detail, structure
    xs    dw3x3(maxima of x over 8x8 cells)
    xv    variance of each channel of x
    xl    x * up(GELU(conv1x1(alpha xs + beta xv)))                           EASA
    yd    conv1x1(GELU(conv1x1(dw3x3 y))), 2C channels inside                 LDE
    out   conv1x1(xl + yd)

alpha and beta are learnt for each channel and start at 1 and 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import without_autocast


def spatial_variance(x: Tensor) -> Tensor:
    """Compute the variance of each channel over the image: (N, C, H, W) -> (N, C, 1, 1).

    The estimator is biased, because the unbiased one is NaN for a single pixel. It is computed in at least fp32,
    because squares overflow fp16.
    """
    with without_autocast(x):
        variance = x.to(torch.promote_types(x.dtype, torch.float32)).var((2, 3), correction=0, keepdim=True)
    # A variance beyond the range of the dtype is clamped, because infinity would become NaN downstream.
    return variance.clamp(max=torch.finfo(x.dtype).max).to(x.dtype)


class StructureAttention(nn.Module):
    """EASA: scales x by coarse maxima and the variance of each channel, (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        self.reduction = reduction
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # An export for any size has symbolic height and width, and a plain max would specialise on the larger operand.
        largest = max if torch.jit.is_tracing() else torch.sym_max
        grid = (largest(1, height // self.reduction), largest(1, width // self.reduction))
        # The maximum of two integers is an integer, but the annotation of sym_max also allows floats.
        structure = self.depthwise(F.adaptive_max_pool2d(x, grid))  # pyright: ignore[reportArgumentType]
        attention = F.gelu(self.mix(self.alpha * structure + self.beta * spatial_variance(x)))
        return x * F.interpolate(attention, size=(height, width), mode="nearest")


class LocalDetail(nn.Sequential):
    """LDE: depthwise 3x3 to twice the channels and a 1x1 bottleneck back, (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels),
            nn.Conv2d(2 * channels, 2 * channels, 1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1),
        )


class SVFM(nn.Module):
    """Splits x into detail and structure, processes each, and fuses them: (N, C, H, W) -> the same shape.

    Convolutions with bias, no normalisation, no skip.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.split = nn.Conv2d(channels, 2 * channels, 1)
        self.structure = StructureAttention(channels)
        self.detail = LocalDetail(channels)
        self.fuse = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        detail, structure = self.split(x).chunk(2, 1)
        return self.fuse(self.structure(structure) + self.detail(detail))
