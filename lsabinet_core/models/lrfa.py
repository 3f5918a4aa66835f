"""Local Receptive Field Attention, LSA-BiNet eq. (1) and (2). 44,035 parameters for 259 channels:

    W     up(sigmoid(conv3x3(conv3x3 s2(SoftPool 7, s3(conv1x1 x)))))         importance of each pixel
    G     sigmoid(first channel of x)                                         gate
    out   x * W * G

The convolutions after the first one have 16 channels; W has as many channels as x.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import resize_bilinear, without_autocast

# exp(-60) is negligible in fp32 next to exp(0) = 1, yet its products are still normal numbers.
LOWEST_EXPONENT = -60.0


def soft_pool(x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Average each window with softmax weights: (N, C, H, W) -> (N, C, h, w), no padding.

    SoftPool (Stergiou et al., ICCV 2021), avgpool(e^x * x) / avgpool(e^x). Computed in fp32 and relative to each
    channel's maximum, because e^x overflows near 9 in fp16 and near 84 in fp32; the result is finite for any finite x
    and has x's dtype.
    """
    with without_autocast(x):
        wide = x.float()
        weight = (wide - wide.amax((2, 3), keepdim=True)).clamp(min=LOWEST_EXPONENT).exp()
        pooled = F.avg_pool2d(weight * wide, kernel_size, stride) / F.avg_pool2d(weight, kernel_size, stride)
    return pooled.to(x.dtype)


class LRFA(nn.Module):
    """Scales every pixel by a learnt local importance and a gate: (N, C, H, W) -> the same shape.

    Convolutions with bias, no normalisation, no skip. H and W of at least 8 (64 pixels of the image at 1/8).
    """

    def __init__(self, channels: int, inner_channels: int = 16):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, inner_channels, 1)
        self.down = nn.Conv2d(inner_channels, inner_channels, 3, stride=2, padding=1)
        self.weigh = nn.Conv2d(inner_channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        importance = soft_pool(self.squeeze(x), kernel_size=7, stride=3)
        importance = torch.sigmoid(self.weigh(self.down(importance)))
        gate = torch.sigmoid(x[:, :1])
        return x * resize_bilinear(importance, x.shape[-2:]) * gate
