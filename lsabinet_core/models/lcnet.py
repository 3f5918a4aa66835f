"""LCNet 3_7 (Shi et al., "Lightweight Context-Aware Network Using Partial-Channel Transformation for Real-Time Semantic
Segmentation", IEEE Transactions on Intelligent Transportation Systems 2024).

Each block transforms half of the channels and passes the others through. Convolutions without bias, each followed by
batch normalisation and SELU, including the classifier. 509,446 parameters for 19 classes, 7.777 GMACs at 512x1024:

    stem      conv3x3 s2, conv3x3, conv3x3                                       32@1/2
    shallow   conv3x3 s2 || maxpool2, 3 x PCT, dilation 2                        64@1/4
    deep      conv3x3 s2 || maxpool2, 7 x PCT, dilations 4 4 8 8 16 16 32       128@1/8
    decoder   dual attention: shallow under the guidance of deep            classes@1/4
"""

from functools import partial

import torch
from torch import Tensor, nn

from .blocks import ConvNorm, DownsamplerBlock, SegmentationNetwork, Stem, batch_norm, initialise, resize_bilinear


class BNSELU(nn.Sequential):
    """Batch normalisation, then SELU: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__(batch_norm(channels), nn.SELU())


conv_bn_selu = partial(ConvNorm, norm=BNSELU)


class TCA(nn.Module):
    """Three-branch context aggregation: (N, C, H, W) -> the same shape.

    The normalised sum of a 3x3 convolution and of a plain and a dilated depthwise convolution of its output.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.conv = conv_bn_selu(channels, channels)
        self.local = conv_bn_selu(channels, channels, groups=channels)
        self.context = conv_bn_selu(channels, channels, dilation=dilation, groups=channels)
        self.norm = BNSELU(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y + self.local(y) + self.context(y))


class PCT(nn.Module):
    """Partial-channel transformation: (N, C, H, W) -> the same shape.

    TCA transforms the second half of the channels, the first half is unchanged; a pointwise convolution mixes them.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.transform = TCA(channels // 2, dilation)
        self.mix = conv_bn_selu(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, transformed = x.chunk(2, 1)
        return self.mix(torch.cat([kept, self.transform(transformed)], 1))


class DualAttentionDecoder(nn.Module):
    """Decodes shallow features under the guidance of deep ones.

    shallow (N, S, H, W) and deep (N, D, h, w) -> logits (N, num_classes, H, W).
    """

    def __init__(self, shallow_channels: int, deep_channels: int, num_classes: int):
        super().__init__()
        self.project = conv_bn_selu(deep_channels, shallow_channels, 1)
        self.reverse = conv_bn_selu(shallow_channels, shallow_channels, 1)
        self.refine = conv_bn_selu(shallow_channels, shallow_channels, groups=shallow_channels)
        self.classify = conv_bn_selu(shallow_channels, num_classes, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        context = self.project(deep)
        region = torch.sigmoid(context)
        context = self.reverse(-region) * region + context
        context = resize_bilinear(context, shallow.shape[-2:])
        return self.classify(self.refine(torch.sigmoid(shallow) * context))


class LCNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Shi et al., LCNet, IEEE T-ITS 2024"
    year = 2024
    auxiliary_channels = (128,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = Stem(BNSELU)
        self.shallow = nn.Sequential(
            DownsamplerBlock(32, 64, BNSELU, bias=False),
            *(PCT(64, 2) for _ in range(3)),
        )
        self.deep = nn.Sequential(
            DownsamplerBlock(64, 128, BNSELU, bias=False),
            *(PCT(128, dilation) for dilation in (4, 4, 8, 8, 16, 16, 32)),
        )
        self.decoder = DualAttentionDecoder(64, 128, num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        shallow = self.shallow(self.stem(image))
        deep = self.deep(shallow)
        return self.decoder(shallow, deep), (deep,)
