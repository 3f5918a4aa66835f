"""ResNet's building blocks (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; "Identity Mappings in
Deep Residual Networks", ECCV 2016), as SwiftNet, DDRNet, PIDNet and ICNet use them.

Convolutions without bias, batch normalisation with eps 1e-5. H and W are divided by the stride, rounded up.
"""

from typing import Any

from torch import Tensor, nn

from .blocks import ConvNorm


class ConvBN(ConvNorm):
    """Convolution without bias, then batch normalisation with eps 1e-5."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **options: Any):
        super().__init__(in_channels, out_channels, kernel_size, norm=nn.BatchNorm2d, **options)


class BNReLUConv(nn.Sequential):
    """Batch normalisation, ReLU, then convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, groups: int = 1, bias: bool = False):
        padding = kernel_size // 2
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, groups=groups, bias=bias),
        )


class ResidualBlock(nn.Module):
    """``body`` plus a shortcut: identity, or a pointwise convolution if the shape changes. No ReLU after the sum."""

    def __init__(self, body: nn.Module, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.body = body
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same_shape else ConvBN(in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions: (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), no ReLU after the sum."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        body = nn.Sequential(
            ConvBN(in_channels, out_channels, 3, stride=stride), nn.ReLU(), ConvBN(out_channels, out_channels, 3)
        )
        super().__init__(body, in_channels, out_channels, stride)


class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolution: (N, in_channels, H, W) -> (N, 2 * channels, H/stride, W/stride), no ReLU after."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1):
        body = nn.Sequential(
            *(ConvBN(in_channels, channels, 1), nn.ReLU()),
            *(ConvBN(channels, channels, 3, stride=stride), nn.ReLU()),
            ConvBN(channels, 2 * channels, 1),
        )
        super().__init__(body, in_channels, 2 * channels, stride)


def basic_stage(in_channels: int, out_channels: int, blocks: int, *, stride: int = 1) -> nn.Sequential:
    """Create a sequence of BasicBlocks with ReLU between them but not after the last; the first one has the stride."""
    layers: list[nn.Module] = [BasicBlock(in_channels, out_channels, stride=stride)]
    for _ in range(blocks - 1):
        layers += [nn.ReLU(), BasicBlock(out_channels, out_channels)]
    return nn.Sequential(*layers)
