"""DDRNet-23-slim (Hong et al., "Deep Dual-resolution Networks for Real-time and Accurate Semantic Segmentation of Road
Scenes", arXiv 2021; IEEE Transactions on Intelligent Transportation Systems 2023).

Two branches start from the same features and exchange information twice. Convolutions without bias, except those of the
stem and the classifier. 5,695,987 parameters for 19 classes, 9.070 GMACs at 512x1024, both for inference, without the
auxiliary head:

    trunk     conv3x3 s2, conv3x3 s2, 2 x BasicBlock                             32@1/4
              2 x BasicBlock                                                     64@1/8
    detail    2 x BasicBlock                                                     64@1/8
              2 x BasicBlock                                                     64@1/8
              Bottleneck                                                        128@1/8
    context   2 x BasicBlock                                                    128@1/16
              2 x BasicBlock                                                    256@1/32
              Bottleneck                                                        512@1/64
    pyramid   deep aggregation pyramid pooling of context                       128@1/64
    head      detail plus bilinear x8 of pyramid, conv3x3, conv1x1          classes@1/8
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import initialise, resize_bilinear
from .dual_resolution import DualResolutionNetwork, Head, PooledScales
from .residual import BNReLUConv, Bottleneck, ConvBN, basic_stage


class DAPPM(nn.Module):
    """Deep aggregation pyramid pooling: (N, in_channels, H, W) -> (N, out_channels, H, W).

    Each coarser scale is added to the result of the previous scale and passed through a 3x3 convolution.
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int):
        super().__init__()
        self.pixel = BNReLUConv(in_channels, channels, 1)
        self.pooled = PooledScales(in_channels, channels)
        self.process = nn.ModuleList(BNReLUConv(channels, channels, 3) for _ in self.pooled.scales)
        self.compress = BNReLUConv(channels * (1 + len(self.process)), out_channels, 1)
        self.shortcut = BNReLUConv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.pixel(x)]
        for process, scale in zip(self.process, self.pooled(x)):
            features.append(process(scale + features[-1]))
        return self.compress(torch.cat(features, 1)) + self.shortcut(x)


class BilateralFusion(nn.Module):
    """Adds each branch to the other at the other's resolution and width, then applies ReLU.

    detail (N, D, H, W) and context (N, C, h, w) -> the same shapes. The detail is downsampled by 2 once per entry of
    ``widths``, which gives the number of output channels.
    """

    def __init__(self, detail_channels: int, widths: tuple[int, ...]):
        super().__init__()
        steps: list[nn.Module] = []
        for before, width in zip((detail_channels, *widths), widths):
            steps += [nn.ReLU(), ConvBN(before, width, 3, stride=2)]
        self.down = nn.Sequential(*steps)
        self.compress = ConvBN(widths[-1], detail_channels, 1)

    def forward(self, detail: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        up = resize_bilinear(self.compress(F.relu(context)), detail.shape[-2:])
        return F.relu(detail + up), F.relu(context + self.down(detail))


class DDRNet23Slim(DualResolutionNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Hong et al., DDRNet, arXiv 2021"
    year = 2021

    def __init__(self, num_classes: int):
        super().__init__()
        self.context1 = basic_stage(64, 128, 2, stride=2)
        self.context2 = basic_stage(128, 256, 2, stride=2)
        self.context3 = Bottleneck(256, 256, stride=2)
        self.fusion1 = BilateralFusion(64, (128,))
        self.fusion2 = BilateralFusion(64, (128, 256))
        self.pyramid = DAPPM(512, 128, 128)
        self.head = Head(128, 64, num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        shared = self.trunk(image)
        fused, context = self.fusion1(self.detail1(shared), self.context1(shared))
        detail, context = self.fusion2(self.detail2(fused), self.context2(context))
        detail, context = self.detail3(detail), self.pyramid(self.context3(context))
        return self.head(detail + resize_bilinear(context, detail.shape[-2:])), (fused,)
