"""CGNet M3N21 (Wu et al., "CGNet: A Light-weight Context Guided Network for Semantic Segmentation", TIP 2021).

Every block combines local features, their surrounding context and the global context. Convolutions without bias.
496,306 parameters for 19 classes, 6.762 GMACs at 512x1024:

    stem      conv3x3 s2, conv3x3, conv3x3; + image/2                            35@1/2
    stage2    CG s2, 2 x CG, dilation 2; + CG s2 + image/4                      131@1/4
    stage3    CG s2, 20 x CG, dilation 4; + CG s2                               256@1/8
    classify  conv1x1                                                       classes@1/8
"""

import torch
from torch import Tensor, nn

from .blocks import BNPReLU, ConvBNPReLU, SegmentationNetwork, Stem, image_pyramid, initialise


class Surroundings(nn.Module):
    """Local features and their dilated surroundings, concatenated: (N, C, H, W) -> (N, 2C, H, W)."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.local = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.context = nn.Conv2d(
            channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False
        )
        self.norm = BNPReLU(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.cat([self.local(x), self.context(x)], 1))


class GlobalContext(nn.Module):
    """Channel attention from the global means (squeeze and excitation): (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x.mean((2, 3)))[..., None, None]


class CGDown(nn.Sequential):
    """Context guided block of stride 2: (N, C, H, W) -> (N, C', ceil(H/2), ceil(W/2))."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int, reduction: int):
        super().__init__(
            ConvBNPReLU(in_channels, out_channels, stride=2),
            Surroundings(out_channels, dilation),
            nn.Conv2d(2 * out_channels, out_channels, 1, bias=False),
            GlobalContext(out_channels, reduction),
        )


class CG(nn.Module):
    """Context guided block, residual: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, dilation: int, reduction: int):
        super().__init__()
        self.body = nn.Sequential(
            ConvBNPReLU(channels, channels // 2, 1),
            Surroundings(channels // 2, dilation),
            GlobalContext(channels, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class CGNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Wu et al., CGNet, IEEE TIP 2021"
    year = 2021
    auxiliary_channels = (2 * 128,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = Stem()
        self.norm1 = BNPReLU(32 + 3)
        self.down2 = CGDown(32 + 3, 64, dilation=2, reduction=8)
        self.stage2 = nn.Sequential(*(CG(64, dilation=2, reduction=8) for _ in range(2)))
        self.norm2 = BNPReLU(2 * 64 + 3)
        self.down3 = CGDown(2 * 64 + 3, 128, dilation=4, reduction=16)
        self.stage3 = nn.Sequential(*(CG(128, dilation=4, reduction=16) for _ in range(20)))
        self.norm3 = BNPReLU(2 * 128)
        self.classify = nn.Conv2d(2 * 128, num_classes, 1, bias=False)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        image2, image4 = image_pyramid(image, 2)
        down2 = self.down2(self.norm1(torch.cat([self.stem(image), image2], 1)))
        stage2 = self.norm2(torch.cat([self.stage2(down2), down2, image4], 1))
        down3 = self.down3(stage2)
        stage3 = self.norm3(torch.cat([self.stage3(down3), down3], 1))
        return self.classify(stage3), (stage3,)
