"""Residual Cross-level Attention Decoder, LSA-BiNet eq. (9) to (12). 365,247 parameters for 19 classes, 131 shallow and
259 deep channels:

    Yc    up(conv1x1 deep)                                                    context at the shallow size
    z     X * sigmoid(sigmoid(X) + Yc), X = shallow                           gated
    R     z + BN(conv3x3(PReLU(BN(conv3x3 z))))                               residual attention
    out   conv1x1(mixer(z + R * Yc)), mixer = dw3x3, conv1x1                  logits

The equations do not specify normalisation and activation. The choice here reproduces the paper's parameter and
operation counts; this file is the only place to change it.
"""

import torch
from torch import Tensor, nn

from .blocks import ConvBNPReLU, ConvNorm, batch_norm, resize_bilinear


class ResidualAttention(nn.Module):
    """z + BN(conv3x3(PReLU(BN(conv3x3 z)))): (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            ConvBNPReLU(channels, channels),
            *ConvNorm(channels, channels, norm=batch_norm),
        )

    def forward(self, z: Tensor) -> Tensor:
        return z + self.body(z)


class RCAD(nn.Module):
    """Decodes shallow features under the guidance of deep ones.

    shallow (N, S, H, W) and deep (N, D, h, w) -> logits (N, num_classes, H, W).
    """

    def __init__(self, shallow_channels: int, deep_channels: int, num_classes: int):
        super().__init__()
        self.project: nn.Module = nn.Conv2d(deep_channels, shallow_channels, 1)
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
