"""DABNet (Li et al., "DABNet: Depth-wise Asymmetric Bottleneck for Real-time Semantic Segmentation", BMVC 2019).

Its encoder is the backbone of LSA-BiNet. Convolutions without bias. 756,643 parameters for 19 classes, 10.22 GMACs
at 512x1024:

    stem      conv3x3 s2, conv3x3, conv3x3; + image/2                            35@1/2
    down1     conv3x3 s2 || maxpool2                                             64@1/4
    block1    3 x DAB, dilation 2                                                64@1/4
    shallow   block1; + down1 + image/4                                         131@1/4
    down2     conv3x3 s2                                                        128@1/8
    block2    6 x DAB, dilations 4 4 8 8 16 16                                  128@1/8
    deep      block2; + down2 + image/8                                         259@1/8
    classify  conv1x1                                                       classes@1/8
"""

import torch
from torch import Tensor, nn

from .blocks import (
    BNPReLU,
    ConvBNPReLU,
    DownsamplerBlock,
    SegmentationNetwork,
    Stem,
    image_pyramid,
    initialise,
)

SHALLOW_CHANNELS = 131
DEEP_CHANNELS = 259


class DAB(nn.Module):
    """Depthwise asymmetric bottleneck: (N, C, H, W) -> the same shape.

    Halves the channels, applies a plain and a dilated pair of depthwise 3x1 and 1x3 convolutions, adds the results,
    restores the channels and adds the input.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        half = channels // 2
        self.norm = BNPReLU(channels)
        self.reduce = ConvBNPReLU(channels, half)
        self.local = nn.Sequential(
            ConvBNPReLU(half, half, (3, 1), groups=half),
            ConvBNPReLU(half, half, (1, 3), groups=half),
        )
        self.context = nn.Sequential(
            ConvBNPReLU(half, half, (3, 1), dilation=(dilation, 1), groups=half),
            ConvBNPReLU(half, half, (1, 3), dilation=(1, dilation), groups=half),
        )
        self.merge = BNPReLU(half)
        self.expand = nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(self.norm(x))
        return x + self.expand(self.merge(self.local(y) + self.context(y)))


class DABBackbone(nn.Module):
    """(N, 3, H, W) -> shallow (N, 131, ceil(H/4), ceil(W/4)) and deep (N, 259, ceil(H/8), ceil(W/8))."""

    def __init__(self):
        super().__init__()
        self.stem = Stem()
        self.norm1 = BNPReLU(32 + 3)
        self.down1 = DownsamplerBlock(32 + 3, 64, BNPReLU, bias=False)
        self.block1 = nn.Sequential(*(DAB(64, 2) for _ in range(3)))
        self.norm2 = BNPReLU(SHALLOW_CHANNELS)
        self.down2 = ConvBNPReLU(SHALLOW_CHANNELS, 128, stride=2)
        self.block2 = nn.Sequential(*(DAB(128, dilation) for dilation in (4, 4, 8, 8, 16, 16)))
        self.norm3 = BNPReLU(DEEP_CHANNELS)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        image2, image4, image8 = image_pyramid(image, 3)
        down1 = self.down1(self.norm1(torch.cat([self.stem(image), image2], 1)))
        shallow = self.norm2(torch.cat([self.block1(down1), down1, image4], 1))
        down2 = self.down2(shallow)
        deep = self.norm3(torch.cat([self.block2(down2), down2, image8], 1))
        return shallow, deep


def pixel_classifier(num_classes: int) -> nn.Conv2d:
    """Create the classifier: deep features (N, 259, h, w) -> logits (N, num_classes, h, w), without bias."""
    return nn.Conv2d(DEEP_CHANNELS, num_classes, 1, bias=False)


class DABNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Li et al., DABNet, BMVC 2019"
    year = 2019
    auxiliary_channels = (DEEP_CHANNELS,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.backbone = DABBackbone()
        self.classify = pixel_classifier(num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        _, deep = self.backbone(image)
        return self.classify(deep), (deep,)
