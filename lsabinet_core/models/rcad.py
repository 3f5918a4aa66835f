"""Residual Cross-level Attention Decoder, LSA-BiNet eq. (9) to (12).

The equations leave the place of normalisation and activation open; those chosen here meet the paper's counts of
parameters and operations, and this file is the one place to change them.
"""

import torch
from torch import Tensor, nn

from .blocks import BN_EPS, ConvBNPReLU, resize_bilinear


class ResidualAttention(nn.Module):
    """z + BN(conv3x3(PReLU(BN(conv3x3 z)))): (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            ConvBNPReLU(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, eps=BN_EPS),
        )

    def forward(self, z: Tensor) -> Tensor:
        return z + self.body(z)


class RCAD(nn.Module):
    """Decodes shallow features under the guidance of deep ones.

    shallow (N, S, H, W) and deep (N, D, h, w) -> logits (N, num_classes, H, W).
    """

    def __init__(self, shallow_channels: int, deep_channels: int, num_classes: int):
        super().__init__()
        self.project = nn.Conv2d(deep_channels, shallow_channels, 1)
        self.attention = ResidualAttention(shallow_channels)
        self.mixer = nn.Sequential(
            ConvBNPReLU(shallow_channels, shallow_channels, groups=shallow_channels),
            ConvBNPReLU(shallow_channels, shallow_channels, 1),
        )
        self.classify = nn.Conv2d(shallow_channels, num_classes, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        context = resize_bilinear(self.project(deep), shallow.shape[-2:])
        gated = shallow * torch.sigmoid(torch.sigmoid(shallow) + context)
        return self.classify(self.mixer(gated + self.attention(gated) * context))
