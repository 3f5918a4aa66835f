"""ESPNetv2 (Mehta et al., "ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural
Network", CVPR 2019), width factor 2, with its pyramid head for segmentation.

Pyramids of depthwise dilated convolutions between grouped 1x1 ones. Convolutions without bias. 1,252,538 parameters for
19 classes, 480 of them unused PReLU slopes, see ``EESP``; 5.654 GMACs at 512x1024:

    level1    conv3x3 s2                                                         32@1/2
    level2    down                                                              128@1/4
    level3    down, 3 x EESP                                                    256@1/8
    level4    down, 7 x EESP                                                    512@1/16
    context   conv1x1, bilinear x2; + level3; EESP, pyramid pooling             256@1/8
    score3    conv1x1                                                       classes@1/8
    score2    bilinear x2; + level2; conv1x1                                classes@1/4
    score1    bilinear x2; + level1; conv1x1                                classes@1/2
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import (
    BNPReLU,
    ConvBNPReLU,
    ConvNorm,
    SegmentationNetwork,
    batch_norm,
    image_pyramid,
    initialise,
    resize_bilinear,
)

BRANCHES = 4


class EESP(nn.Module):
    """Extremely efficient spatial pyramid: (N, C, H, W) -> (N, C', H, W), or half the size, rounded up, with stride 2.

    A grouped 1x1 convolution to C' / 4, four depthwise convolutions of growing dilation whose running sums are
    concatenated, and a grouped 1x1 convolution; the input is added if the shape is unchanged. PReLU follows only with
    stride 1; with stride 2 ``EESPDown`` adds the image first. The published code declares slopes for stride 2 as well,
    480 in three modules; they are frozen, because no output depends on them.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: tuple[int, ...], *, stride: int = 1):
        super().__init__()
        width = out_channels // BRANCHES
        self.reduce = ConvBNPReLU(in_channels, width, 1, groups=BRANCHES)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, groups=width, bias=False)
            for dilation in dilations
        )
        self.norm = BNPReLU(out_channels)
        self.expand = ConvNorm(out_channels, out_channels, 1, norm=batch_norm, groups=BRANCHES)
        self.activation = nn.PReLU(out_channels).requires_grad_(stride == 1)
        self.activated = stride == 1
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        sums = [self.branches[0](reduced)]
        for branch in self.branches[1:]:
            sums.append(sums[-1] + branch(reduced))
        y = self.expand(self.norm(torch.cat(sums, 1)))
        if not self.activated:
            return y
        return self.activation(x + y if self.residual else y)


class EESPDown(nn.Module):
    """Average pooling parallel to a strided EESP, plus the downsampled image, which restores lost detail.

    x (N, C, H, W) and image (N, 3, ceil(H/2), ceil(W/2)) -> (N, C', ceil(H/2), ceil(W/2)).
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: tuple[int, ...]):
        super().__init__()
        self.pyramid = EESP(in_channels, out_channels - in_channels, dilations, stride=2)
        self.reinforce = nn.Sequential(ConvBNPReLU(3, 3), ConvNorm(3, out_channels, 1, norm=batch_norm))
        self.activation = nn.PReLU(out_channels)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        y = torch.cat([F.avg_pool2d(x, 3, stride=2, padding=1), self.pyramid(x)], 1)
        return self.activation(y + self.reinforce(image))


class PyramidPooling(nn.Module):
    """Depthwise 3x3 at 1/2, 1/4, 1/8 and 1/16 of the size, concatenated with x, 1x1: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, levels: int = 4):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) for _ in range(levels)
        )
        self.project = ConvBNPReLU(channels * (levels + 1), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = image_pyramid(x, len(self.stages))
        scales = [resize_bilinear(stage(level), x.shape[-2:]) for stage, level in zip(self.stages, pooled)]
        return self.project(torch.cat([x, *scales], 1))


def join(skip: Tensor, deep: Tensor) -> Tensor:
    """Concatenate skip (N, C, H, W) and the resized deep features (N, D, h, w): -> (N, C + D, H, W)."""
    return torch.cat([skip, resize_bilinear(deep, skip.shape[-2:])], 1)


class ESPNetv2(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Mehta et al., ESPNetv2, CVPR 2019"
    year = 2019
    auxiliary_channels = (256,)

    def __init__(self, num_classes: int):
        super().__init__()
        # Deeper levels limit the receptive field of a branch more.
        wide, narrow = (1, 2, 3, 4), (1, 1, 2, 3)
        self.level1 = ConvBNPReLU(3, 32, stride=2)
        self.level2 = EESPDown(32, 128, wide)
        self.down3 = EESPDown(128, 256, wide)
        self.level3 = nn.Sequential(*(EESP(256, 256, wide) for _ in range(3)))
        self.down4 = EESPDown(256, 512, wide)
        self.level4 = nn.Sequential(*(EESP(512, 512, narrow) for _ in range(7)))

        self.project4 = ConvBNPReLU(512, 256, 1)
        self.context = nn.Sequential(EESP(512, 256, narrow), PyramidPooling(256))
        self.score3 = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(256, num_classes, 1, bias=False), BNPReLU(num_classes))
        self.score2 = ConvBNPReLU(128 + num_classes, num_classes, 1)
        self.score1 = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(32 + num_classes, num_classes, 1, bias=False))
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        _, image4, image8, image16 = image_pyramid(image, 4)
        level1 = self.level1(image)
        level2 = self.level2(level1, image4)
        level3 = self.level3(self.down3(level2, image8))
        level4 = self.level4(self.down4(level3, image16))
        context = self.context(join(level3, self.project4(level4)))
        score2 = self.score2(join(level2, self.score3(context)))
        return self.score1(join(level1, score2)), (context,)
