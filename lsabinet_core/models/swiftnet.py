"""SwiftNet, single scale with ResNet-18 (Oršić et al., "In Defense of Pre-trained ImageNet Architectures for Real-time
Semantic Segmentation of Road-driving Images", CVPR 2019).

A ResNet encoder, whose skip connections start before the last ReLU of each stage, and a light decoder. Convolutions
without bias, except the classifier. 11,797,071 parameters for 19 classes, 25.89 GMACs at 512x1024:

    stem      conv7x7 s2, maxpool3 s2                                            64@1/4
    stage1    2 x BasicBlock                                                     64@1/4
    stage2    2 x BasicBlock                                                    128@1/8
    stage3    2 x BasicBlock                                                    256@1/16
    stage4    2 x BasicBlock                                                    512@1/32
    context   spatial pyramid pooling on grids of 8, 4 and 2 rows               128@1/32
    up3       bilinear x2 plus conv1x1 of stage3, conv3x3                       128@1/16
    up2       bilinear x2 plus conv1x1 of stage2, conv3x3                       128@1/8
    up1       bilinear x2 plus conv1x1 of stage1, conv3x3                       128@1/4
    classify  conv1x1                                                       classes@1/4
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import SegmentationNetwork, initialise, resize_bilinear
from .residual import BNReLUConv, ConvBN, basic_stage


class SpatialPyramidPooling(nn.Module):
    """Context from average pooling on three grids: (N, in_channels, H, W) -> (N, out_channels, H, W).

    The grids have 8, 4 and 2 rows; the number of columns makes the cells approximately square.
    """

    grid_rows = (8, 4, 2)

    def __init__(self, in_channels: int, out_channels: int, level_channels: int = 42):
        super().__init__()
        self.reduce = BNReLUConv(in_channels, out_channels, 1)
        self.levels = nn.ModuleList(BNReLUConv(out_channels, level_channels, 1) for _ in self.grid_rows)
        self.fuse = BNReLUConv(out_channels + len(self.grid_rows) * level_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = self.reduce(x)
        features = [x]
        for rows, level in zip(self.grid_rows, self.levels):
            grid = (rows, max(1, round(rows * width / height)))
            features.append(resize_bilinear(level(F.adaptive_avg_pool2d(x, grid)), (height, width)))
        return self.fuse(torch.cat(features, 1))


class UpsamplingBlock(nn.Module):
    """Resizes deep features (N, C, h, w) to the size of a skip (N, S, H, W) and adds them: -> (N, C, H, W)."""

    def __init__(self, skip_channels: int, channels: int):
        super().__init__()
        self.lateral = BNReLUConv(skip_channels, channels, 1)
        self.blend = BNReLUConv(channels, channels, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.blend(resize_bilinear(x, skip.shape[-2:]) + self.lateral(skip))


class SwiftNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Oršić et al., SwiftNet, CVPR 2019"
    year = 2019
    auxiliary_channels = (128,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem = nn.Sequential(ConvBN(3, 64, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
        self.stage1 = basic_stage(64, 64, 2)
        self.stage2 = basic_stage(64, 128, 2, stride=2)
        self.stage3 = basic_stage(128, 256, 2, stride=2)
        self.stage4 = basic_stage(256, 512, 2, stride=2)
        self.context = SpatialPyramidPooling(512, 128)
        self.up3 = UpsamplingBlock(256, 128)
        self.up2 = UpsamplingBlock(128, 128)
        self.up1 = UpsamplingBlock(64, 128)
        self.classify = BNReLUConv(128, num_classes, 1, bias=True)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        skip1 = self.stage1(self.stem(image))
        skip2 = self.stage2(F.relu(skip1))
        skip3 = self.stage3(F.relu(skip2))
        context = self.context(self.stage4(F.relu(skip3)))
        return self.classify(self.up1(self.up2(self.up3(context, skip3), skip2), skip1)), (context,)
