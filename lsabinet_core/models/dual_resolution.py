"""What DDRNet and PIDNet have in common: the stem, the pooled scales of their context modules, the head."""

from torch import Tensor, nn

from .blocks import resize_bilinear
from .residual import BNReLUConv


class Stem(nn.Sequential):
    """Two strided 3x3 convolutions, with bias before their batch normalisation: (N, 3, H, W) -> (N, C, H/4, W/4)."""

    def __init__(self, channels: int):
        super().__init__(
            *(nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()),
        )


class PooledScales(nn.Module):
    """Features averaged over ever larger windows, the whole image last: (N, in_channels, H, W) -> four (N, C, H, W).

    The last scale normalises one value per image, so training needs batches of at least two images.
    """

    # Kernel size and stride of the average pooling; padded so that the windows are centred.
    windows = ((5, 2), (9, 4), (17, 8))

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        pools = [nn.AvgPool2d(size, stride=stride, padding=stride) for size, stride in self.windows]
        pools.append(nn.AdaptiveAvgPool2d(1))
        self.scales = nn.ModuleList(nn.Sequential(pool, BNReLUConv(in_channels, channels, 1)) for pool in pools)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [resize_bilinear(scale(x), x.shape[-2:]) for scale in self.scales]


class Head(nn.Sequential):
    """Pixel classifier: (N, in_channels, H, W) -> logits (N, num_classes, H, W)."""

    def __init__(self, in_channels: int, channels: int, num_classes: int):
        super().__init__(BNReLUConv(in_channels, channels, 3), BNReLUConv(channels, num_classes, 1, bias=True))
