"""Modules shared by DDRNet and PIDNet: trunk, detail branch, pooled scales of the context modules, and head.

Convolutions without bias, except those of the stem and the classifier; batch normalisation with eps 1e-5; ReLU.
"""

from torch import Tensor, nn

from .blocks import SegmentationNetwork, resize_bilinear
from .residual import BNReLUConv, Bottleneck, basic_stage


class Trunk(nn.Sequential):
    """Trunk of all branches: (N, 3, H, W) -> (N, 64, H/8, W/8), rounded up; the first two convolutions have bias."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(basic_stage(32, 32, 2), nn.ReLU()),
            *(basic_stage(32, 64, 2, stride=2), nn.ReLU()),
        )


class PooledScales(nn.Module):
    """Average pooling with growing windows, up to the whole image: (N, in_channels, H, W) -> four (N, C, H, W).

    The last scale normalises one value per image. Training therefore needs batches of at least two images, preferably
    eight or more, and evaluation mode is meaningless before about forty steps.
    """

    # Kernel size and stride of the average pooling; padded so that the windows are centred.
    windows = ((5, 2), (9, 4), (17, 8))

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        pools: list[nn.Module] = [nn.AvgPool2d(size, stride=stride, padding=stride) for size, stride in self.windows]
        pools.append(nn.AdaptiveAvgPool2d(1))
        self.scales = nn.ModuleList(nn.Sequential(pool, BNReLUConv(in_channels, channels, 1)) for pool in pools)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [resize_bilinear(scale(x), x.shape[-2:]) for scale in self.scales]


class Head(nn.Sequential):
    """Pixel classifier: (N, in_channels, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, in_channels: int, channels: int, num_classes: int):
        super().__init__(BNReLUConv(in_channels, channels, 3), BNReLUConv(channels, num_classes, 1, bias=True))


class DualResolutionNetwork(SegmentationNetwork):
    """The trunk, and the three stages of the detail branch with 64, 64 and 128 channels at 1/8."""

    # The detail features after the first fusion with the context, where both papers attach an auxiliary head.
    auxiliary_channels = (64,)

    def __init__(self):
        super().__init__()
        self.trunk = Trunk()
        self.detail1 = basic_stage(64, 64, 2)
        self.detail2 = basic_stage(64, 64, 2)
        self.detail3 = Bottleneck(64, 64)
