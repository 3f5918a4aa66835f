"""ICNet (Zhao et al., "ICNet for Real-Time Semantic Segmentation on High-Resolution Images", ECCV 2018), with half of
the kernels, as published.

Most layers process a low-resolution image, only a few the full resolution. Convolutions without bias. 6,699,987
parameters for 19 classes, 7.257 GMACs at 512x1024:

    medium    image/2, conv3x3 s2, conv3x3, conv3x3, maxpool3 s2                 64@1/8
              3 x bottleneck, bottleneck s2                                     256@1/16
    coarse    medium/2, 3 x bottleneck, 6 x dilated 2, 3 x dilated 4           1024@1/32
              plus averages over grids of 1, 2, 3, 6 cells; conv1x1             256@1/32
    fine      conv3x3 s2, conv3x3 s2, conv3x3 s2                                 64@1/8
    fuse1     conv3x3, dilated 2, of coarse x2, plus conv1x1 of medium          128@1/16
    fuse2     conv3x3, dilated 2, of fuse1 x2, plus conv1x1 of fine             128@1/8
    classify  bilinear x2, conv1x1                                          classes@1/4

Evaluation lags behind training: the running statistics start at 0 and 1, and their error multiplies through sixteen
residual additions. Evaluation mode is meaningless before about forty steps.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import SegmentationNetwork, initialise, resize_bilinear
from .residual import ConvBN, ResidualBlock


class DilatedBottleneck(ResidualBlock):
    """1x1 convolution to C' / 4, dilated 3x3, 1x1 to C': (N, C, H, W) -> (N, C', H/stride, W/stride), rounded up.

    The first convolution has the stride, unlike in later ResNets; ReLU follows the addition.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1):
        width = out_channels // 4
        body = nn.Sequential(
            *(ConvBN(in_channels, width, 1, stride=stride), nn.ReLU()),
            *(ConvBN(width, width, 3, dilation=dilation), nn.ReLU()),
            ConvBN(width, out_channels, 1),
        )
        super().__init__(body, in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


def bottlenecks(count: int, in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """Create a sequence of ``count`` bottlenecks."""
    channels = (in_channels, *[out_channels] * (count - 1))
    return nn.Sequential(*(DilatedBottleneck(before, out_channels, dilation=dilation) for before in channels))


def conv_stem(strides: tuple[int, int, int]) -> list[nn.Module]:
    """Create three 3x3 convolutions to 32, 32 and 64 channels, each with ReLU."""
    channels = (3, 32, 32, 64)
    layers: list[nn.Module] = []
    for before, after, stride in zip(channels, channels[1:], strides):
        layers += [ConvBN(before, after, 3, stride=stride), nn.ReLU()]
    return layers


class GridPooling(nn.Module):
    """x plus its averages over grids of 1, 2, 3 and 6 cells a side: (N, C, H, W) -> the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return x + sum(resize_bilinear(F.adaptive_avg_pool2d(x, cells), x.shape[-2:]) for cells in (1, 2, 3, 6))


class CascadeFusion(nn.Module):
    """Adds finer features to coarser ones: coarse (N, C, h, w), fine (N, F, H, W) -> (N, 128, H, W)."""

    def __init__(self, coarse_channels: int, fine_channels: int):
        super().__init__()
        self.coarse = ConvBN(coarse_channels, 128, 3, dilation=2)
        self.fine = ConvBN(fine_channels, 128, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return F.relu(self.coarse(resize_bilinear(coarse, fine.shape[-2:])) + self.fine(fine))


def halve(x: Tensor) -> Tensor:
    """Downsample (N, C, H, W) to (N, C, H/2, W/2), rounded up."""
    height, width = x.shape[-2:]
    return resize_bilinear(x, (-(-height // 2), -(-width // 2)))


class ICNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Zhao et al., ICNet, ECCV 2018"
    year = 2018
    auxiliary_channels = (256, 128)

    def __init__(self, num_classes: int):
        super().__init__()
        self.medium = nn.Sequential(
            *conv_stem(strides=(2, 1, 1)),
            nn.MaxPool2d(3, stride=2, padding=1),
            *bottlenecks(3, 64, 128),
            DilatedBottleneck(128, 256, stride=2),
        )
        self.coarse = nn.Sequential(
            *bottlenecks(3, 256, 256),
            *bottlenecks(6, 256, 512, dilation=2),
            *bottlenecks(3, 512, 1024, dilation=4),
            GridPooling(),
            ConvBN(1024, 256, 1),
            nn.ReLU(),
        )
        self.fine = nn.Sequential(*conv_stem(strides=(2, 2, 2)))
        self.fuse1 = CascadeFusion(256, 256)
        self.fuse2 = CascadeFusion(128, 64)
        self.classify = nn.Conv2d(128, num_classes, 1)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        medium = self.medium(halve(image))
        coarse = self.coarse(halve(medium))
        fused = self.fuse1(coarse, medium)
        x = self.fuse2(fused, self.fine(image))
        height, width = image.shape[-2:]
        return self.classify(resize_bilinear(x, (-(-height // 4), -(-width // 4)))), (coarse, fused)
