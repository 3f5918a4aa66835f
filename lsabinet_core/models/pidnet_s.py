"""PIDNet-S (Xu et al., "PIDNet: A Real-Time Semantic Segmentation Network Inspired by PID Controllers", CVPR 2023).

Three branches, by analogy with a PID controller: detail (P), context (I) and boundary (D). After the first and second
stage, the detail branch fuses similar context features, and the boundary branch adds a 3x3 convolution of the context.
Convolutions without bias, except those of the stem and the classifier. 7,625,715 parameters for 19 classes, 11.80 GMACs
at 512x1024, both for inference, without the boundary and auxiliary heads:

    trunk     conv3x3 s2, conv3x3 s2, 2 x BasicBlock                             32@1/4
              2 x BasicBlock                                                     64@1/8
    detail    2 x BasicBlock                                                     64@1/8
              2 x BasicBlock                                                     64@1/8
              Bottleneck                                                        128@1/8
    context   3 x BasicBlock                                                    128@1/16
              3 x BasicBlock                                                    256@1/32
              2 x Bottleneck                                                    512@1/64
    boundary  BasicBlock                                                         32@1/8
              Bottleneck                                                         64@1/8
              Bottleneck                                                        128@1/8
    pyramid   parallel aggregation pyramid pooling of context                   128@1/64
    head      detail and bilinear x8 of pyramid mixed by boundary,
              conv3x3, conv1x1                                              classes@1/8
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import initialise, resize_bilinear
from .dual_resolution import DualResolutionNetwork, Head, PooledScales
from .residual import BasicBlock, BNReLUConv, Bottleneck, ConvBN, basic_stage


class PixelAttentionFusion(nn.Module):
    """Pag: detail (N, D, H, W) and context (N, C, h, w) -> (N, D, H, W).

    A per-pixel weighted mean of the two; the weight is their similarity.
    """

    def __init__(self, detail_channels: int, context_channels: int, key_channels: int):
        super().__init__()
        self.compress = ConvBN(context_channels, detail_channels, 1)
        self.detail_key = ConvBN(detail_channels, key_channels, 1)
        self.context_key = ConvBN(detail_channels, key_channels, 1)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        size = detail.shape[-2:]
        context = self.compress(context)
        likeness = self.detail_key(detail) * resize_bilinear(self.context_key(context), size)
        weight = torch.sigmoid(likeness.sum(1, keepdim=True))
        return detail + weight * (resize_bilinear(context, size) - detail)


class PAPPM(nn.Module):
    """Parallel aggregation pyramid pooling: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Each coarser scale is added to the input features and passed through its own 3x3 convolution.
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int):
        super().__init__()
        self.pixel = BNReLUConv(in_channels, channels, 1)
        self.pooled = PooledScales(in_channels, channels)
        count = len(self.pooled.scales)
        self.process = BNReLUConv(channels * count, channels * count, 3, groups=count)
        self.compress = BNReLUConv(channels * (1 + count), out_channels, 1)
        self.shortcut = BNReLUConv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pixel = self.pixel(x)
        scales = self.process(torch.cat([scale + pixel for scale in self.pooled(x)], 1))
        return self.compress(torch.cat([pixel, scales], 1)) + self.shortcut(x)


class BoundaryAttentionFusion(nn.Module):
    """Light-Bag: detail, context and boundary, each (N, C, H, W) -> (N, C, H, W).

    Detail dominates at strong boundaries, context elsewhere.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.detail = ConvBN(channels, channels, 1)
        self.context = ConvBN(channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        edge = torch.sigmoid(boundary)
        return self.detail(detail + (1 - edge) * context) + self.context(context + edge * detail)


class PIDNetS(DualResolutionNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Xu et al., PIDNet, CVPR 2023"
    year = 2023

    def __init__(self, num_classes: int):
        super().__init__()
        self.context1 = nn.Sequential(basic_stage(64, 128, 3, stride=2), nn.ReLU())
        self.context2 = nn.Sequential(basic_stage(128, 256, 3, stride=2), nn.ReLU())
        self.context3 = nn.Sequential(Bottleneck(256, 256, stride=2), Bottleneck(512, 256))

        self.boundary1 = BasicBlock(64, 32)
        self.boundary2 = Bottleneck(32, 32)
        self.boundary3 = Bottleneck(64, 64)

        self.to_detail1 = PixelAttentionFusion(64, 128, 32)
        self.to_detail2 = PixelAttentionFusion(64, 256, 32)
        self.to_boundary1 = ConvBN(128, 32, 3)
        self.to_boundary2 = ConvBN(256, 64, 3)

        self.pyramid = PAPPM(512, 96, 128)
        self.fuse = BoundaryAttentionFusion(128)
        self.head = Head(128, 128, num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        shared = self.trunk(image)
        size = shared.shape[-2:]

        context = self.context1(shared)
        fused = F.relu(self.to_detail1(self.detail1(shared), context))
        boundary = F.relu(self.boundary1(shared) + resize_bilinear(self.to_boundary1(context), size))

        context = self.context2(context)
        detail = F.relu(self.to_detail2(self.detail2(fused), context))
        boundary = F.relu(self.boundary2(boundary) + resize_bilinear(self.to_boundary2(context), size))

        context = resize_bilinear(self.pyramid(self.context3(context)), size)
        return self.head(self.fuse(self.detail3(detail), context, self.boundary3(boundary))), (fused,)
