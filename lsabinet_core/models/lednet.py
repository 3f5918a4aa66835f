"""LEDNet (Wang et al., "LEDNet: A Lightweight Encoder-Decoder Network for Real-Time Semantic Segmentation", ICIP 2019).

Factorised residual blocks on each half of the channels with channel shuffling, and an attention pyramid. Convolutions
with bias. 922,821 parameters for 19 classes, 11.21 GMACs at 512x1024:

    encoder   conv3x3 s2 || maxpool2, 3 x SSNonBottleneck                        32@1/2
              conv3x3 s2 || maxpool2, 2 x SSNonBottleneck                        64@1/4
              conv3x3 s2 || maxpool2, 8 x SSNonBottleneck,
              dilations 1 2 5 9 2 5 9 17                                        128@1/8
    decoder   conv1x1, times a one-channel attention, plus the image's mean     classes@1/8

The global branch normalises one value per image, and the deepest level of the pyramid only a few. Training therefore
needs batches of at least two images, preferably eight or more, and evaluation mode is meaningless before about forty
steps.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import BNReLU, ConvNorm, DownsamplerBlock, SegmentationNetwork, initialise
from .factorised import FactorisedResidual

conv_bn_relu = partial(ConvNorm, norm=BNReLU, bias=True)


class SSNonBottleneck(nn.Module):
    """Split-shuffle non-bottleneck: (N, C, H, W) -> the same shape.

    Each half of the channels has its own factorised residual: the left one starts with the vertical convolution, the
    right one with the horizontal one. The channels of the halves are then interleaved.
    """

    def __init__(self, channels: int, *, dilation: int = 1, dropout: float):
        super().__init__()
        self.left = FactorisedResidual(channels // 2, 3, dilation, dropout)
        self.right = FactorisedResidual(channels // 2, 3, dilation, dropout, horizontal_first=True)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        y = F.relu(x + torch.cat([self.left(left), self.right(right)], 1))
        return F.channel_shuffle(y, 2)


def resize_corners(x: Tensor, like: Tensor) -> Tensor:
    """Resize bilinearly to the H and W of ``like`` with aligned corner pixels, as in the attention pyramid."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class AttentionPyramid(nn.Module):
    """APN: (N, C, H, W) -> logits (N, num_classes, H, W).

    Pointwise logits, scaled by a one-channel attention from three coarser levels, plus logits of the whole image.
    """

    def __init__(self, channels: int, num_classes: int):
        super().__init__()
        self.image = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn_relu(channels, num_classes, 1))
        self.pixel = conv_bn_relu(channels, num_classes, 1)
        self.down1 = conv_bn_relu(channels, 1, 7, stride=2)
        self.down2 = conv_bn_relu(1, 1, 5, stride=2)
        self.down3 = nn.Sequential(conv_bn_relu(1, 1, 3, stride=2), conv_bn_relu(1, 1, 3))
        self.lateral1 = conv_bn_relu(1, 1, 7)
        self.lateral2 = conv_bn_relu(1, 1, 5)

    def forward(self, x: Tensor) -> Tensor:
        level1 = self.down1(x)
        level2 = self.down2(level1)
        attention = resize_corners(self.down3(level2), level2)
        attention = resize_corners(self.lateral2(level2) + attention, level1)
        attention = resize_corners(self.lateral1(level1) + attention, x)
        return self.pixel(x) * attention + self.image(x)


class LEDNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Wang et al., LEDNet, ICIP 2019"
    year = 2019
    auxiliary_channels = (128,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.encoder = nn.Sequential(
            DownsamplerBlock(3, 32),
            *(SSNonBottleneck(32, dropout=0.03) for _ in range(3)),
            DownsamplerBlock(32, 64),
            *(SSNonBottleneck(64, dropout=0.03) for _ in range(2)),
            DownsamplerBlock(64, 128),
            *(SSNonBottleneck(128, dilation=dilation, dropout=0.3) for dilation in (1, 2, 5, 9, 2, 5, 9, 17)),
        )
        self.decoder = AttentionPyramid(128, num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        encoded = self.encoder(image)
        return self.decoder(encoded), (encoded,)
