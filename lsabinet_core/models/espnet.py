"""ESPNet (Mehta et al., "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic Segmentation", ECCV
2018), with p = 2 and q = 8 modules and its light decoder.

Pyramids of dilated convolutions on few channels. Convolutions without bias. 363,462 parameters for 19 classes, 4.670
GMACs at 512x1024:

    level1    conv3x3 s2; + image/2                                              19@1/2
    level2    ESP s2, 2 x ESP; + ESP s2 + image/4                               131@1/4
    level3    ESP s2, 8 x ESP; + ESP s2                                         256@1/8
    up3       conv1x1, transposed conv2x2 s2                                classes@1/4
    up2       up3; + conv1x1 of level2; ESP, transposed conv2x2 s2          classes@1/2
    up1       up2; + level1; conv3x3, transposed conv2x2 s2                 classes@1
"""

import torch
from torch import Tensor, nn

from .blocks import BNPReLU, ConvBNPReLU, SegmentationNetwork, batch_norm, image_pyramid, initialise

DILATIONS = (1, 2, 4, 8, 16)


class ESP(nn.Module):
    """Efficient spatial pyramid: (N, C, H, W) -> (N, C', H, W), or half the size, rounded up, with stride 2.

    Reduces to a fifth of C', applies five dilated convolutions, and concatenates their running sums (hierarchical
    feature fusion), which avoids the gridding artefacts of large dilations.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        super().__init__()
        # With fewer than five classes, there are fewer branches.
        dilations = DILATIONS[:out_channels]
        width = out_channels // len(dilations)
        # The undilated convolution takes the remainder of the division.
        widths = (width + out_channels % len(dilations), *[width] * (len(dilations) - 1))
        kernel_size = 1 if stride == 1 else 3
        self.reduce = nn.Conv2d(in_channels, width, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, branch_width, 3, padding=dilation, dilation=dilation, bias=False)
            for branch_width, dilation in zip(widths, dilations)
        )
        self.norm = BNPReLU(out_channels)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        plain, *dilated = (branch(reduced) for branch in self.branches)
        for index in range(1, len(dilated)):
            dilated[index] = dilated[index] + dilated[index - 1]
        y = torch.cat([plain, *dilated], 1)
        return self.norm(x + y if self.residual else y)


class TransposedConv(nn.Module):
    """Transposed 2x2 convolution of stride 2, cut to ``size``: (N, C, h, w) -> (N, C, *size)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, channels, 2, stride=2, bias=False)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        # The encoder's strided convolutions round odd sizes up.
        return self.conv(x)[..., : size[0], : size[1]]


class ESPNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Mehta et al., ESPNet, ECCV 2018"
    year = 2018
    auxiliary_channels = (256,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.level1 = ConvBNPReLU(3, 16, stride=2)
        self.norm1 = BNPReLU(16 + 3)
        self.down2 = ESP(16 + 3, 64, stride=2)
        self.level2 = nn.Sequential(*(ESP(64, 64) for _ in range(2)))
        self.norm2 = BNPReLU(2 * 64 + 3)
        self.down3 = ESP(2 * 64 + 3, 128, stride=2)
        self.level3 = nn.Sequential(*(ESP(128, 128) for _ in range(8)))
        self.norm3 = BNPReLU(2 * 128)

        self.score3 = nn.Conv2d(2 * 128, num_classes, 1, bias=False)
        self.score3_norm = batch_norm(num_classes)
        self.up3 = TransposedConv(num_classes)
        self.score2 = nn.Conv2d(2 * 64 + 3, num_classes, 1, bias=False)
        self.fuse2 = nn.Sequential(BNPReLU(2 * num_classes), ESP(2 * num_classes, num_classes))
        self.up2 = TransposedConv(num_classes)
        self.up2_norm = BNPReLU(num_classes)
        self.fuse1 = ConvBNPReLU(16 + 3 + num_classes, num_classes)
        self.up1 = TransposedConv(num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        image2, image4 = image_pyramid(image, 2)
        level1 = self.norm1(torch.cat([self.level1(image), image2], 1))
        down2 = self.down2(level1)
        level2 = self.norm2(torch.cat([self.level2(down2), down2, image4], 1))
        down3 = self.down3(level2)
        level3 = self.norm3(torch.cat([self.level3(down3), down3], 1))

        x = self.up3(self.score3_norm(self.score3(level3)), level2.shape[-2:])
        x = self.fuse2(torch.cat([self.score2(level2), x], 1))
        x = self.up2_norm(self.up2(x, level1.shape[-2:]))
        x = self.fuse1(torch.cat([x, level1], 1))
        return self.up1(x, image.shape[-2:]), (level3,)
