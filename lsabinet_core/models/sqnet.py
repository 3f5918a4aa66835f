"""SQNet (Treml et al., "Speeding up Semantic Segmentation for Autonomous Driving", NIPS workshop MLITS 2016).

SqueezeNet 1.1 as encoder, parallel dilated convolutions for context, refinement with the encoder's features. Every
convolution has a bias and an ELU, including the classifier; there is no normalisation. 16,262,771 parameters for 19
classes, 143.9 GMACs at 512x1024:

    stem      conv3x3 s2                                                         96@1/2
    stage1    maxpool2, 2 x Fire                                                128@1/4
    stage2    maxpool2, 2 x Fire                                                256@1/8
    stage3    maxpool2, 3 x Fire                                                512@1/16
    context   sum of four conv3x3, dilations 1 2 3 4                            512@1/16
    up1       transposed conv3x3 s2; + conv3x3 of stage2; conv3x3               512@1/8
    up2       transposed conv3x3 s2; + conv3x3 of stage1; conv3x3               256@1/4
    up3       transposed conv3x3 s2; + conv3x3 of the stem; conv3x3             192@1/2
    classify  transposed conv3x3 s2                                         classes@1
"""

from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import ConvNorm, SegmentationNetwork, initialise

conv_elu = partial(ConvNorm, norm=lambda channels: nn.ELU(), bias=True)


class Fire(nn.Module):
    """SqueezeNet's module, (N, C, H, W) -> (N, C', H, W): 1x1 to C' / 8, then 1x1 and 3x3 in parallel."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        squeezed = out_channels // 8
        self.squeeze = conv_elu(in_channels, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, out_channels // 2, 1)
        self.expand3 = nn.Conv2d(squeezed, out_channels // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return F.elu(torch.cat([self.expand1(x), self.expand3(x)], 1))


class ParallelDilated(nn.Module):
    """Sum of four dilated 3x3 convolutions, each with its ELU: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__()
        self.branches = nn.ModuleList(conv_elu(channels, channels, dilation=dilation) for dilation in (1, 2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return reduce(torch.add, (branch(x) for branch in self.branches))


class TransposedELU(nn.Module):
    """Transposed 3x3 convolution of stride 2, then ELU: (N, C, h, w) -> (N, C', *size), size about twice (h, w)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = size
        x = F.elu(self.conv(x))[..., :height, :width]
        # Pooling dropped the last row or column of an odd size.
        missing = (0, width - x.shape[-1], 0, height - x.shape[-2])
        return F.pad(x, missing, mode="replicate") if any(missing) else x


class Refinement(nn.Module):
    """Upsamples x by 2 and concatenates the encoder's features: (N, C, h, w), (N, S, H, W) -> (N, 2S, H, W)."""

    def __init__(self, in_channels: int, skip_channels: int):
        super().__init__()
        self.up = TransposedELU(in_channels, skip_channels)
        self.skip = conv_elu(skip_channels, skip_channels)
        self.fuse = conv_elu(2 * skip_channels, 2 * skip_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.fuse(torch.cat([self.up(x, skip.shape[-2:]), self.skip(skip)], 1))


class SQNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Treml et al., SQNet, NIPS workshop MLITS 2016"
    year = 2016
    auxiliary_channels = (512,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = conv_elu(3, 96, stride=2)
        self.stage1 = nn.Sequential(Fire(96, 128), Fire(128, 128))
        self.stage2 = nn.Sequential(Fire(128, 256), Fire(256, 256))
        self.stage3 = nn.Sequential(Fire(256, 512), Fire(512, 512), Fire(512, 512))
        self.context = ParallelDilated(512)
        self.up1 = Refinement(512, 256)
        self.up2 = Refinement(512, 128)
        self.up3 = Refinement(256, 96)
        self.classify = TransposedELU(192, num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        half = self.stem(image)
        quarter = self.stage1(F.max_pool2d(half, 2))
        eighth = self.stage2(F.max_pool2d(quarter, 2))
        context = self.context(self.stage3(F.max_pool2d(eighth, 2)))
        x = self.up3(self.up2(self.up1(context, eighth), quarter), half)
        return self.classify(x, image.shape[-2:]), (context,)
