"""ESNet (Wang et al., "ESNet: An Efficient Symmetric Network for Real-Time Semantic Segmentation", PRCV 2019).

ERFNet's factorised blocks with larger kernels at 1/4, and parallel ones at 1/8. Convolutions with bias. 1,659,071
parameters for 19 classes, 24.05 GMACs at 512x1024; FCU is ``NonBottleneck1d``:

    encoder   conv3x3 s2 || maxpool2, 3 x FCU, kernel 3                          16@1/2
              conv3x3 s2 || maxpool2, 2 x FCU, kernel 5                          64@1/4
              conv3x3 s2 || maxpool2, 3 x PFCU, dilations 2 5 9                 128@1/8
    decoder   transposed conv3x3 s2, 2 x FCU, kernel 5                           64@1/4
              transposed conv3x3 s2, 2 x FCU, kernel 3                           16@1/2
    classify  transposed conv2x2 s2                                         classes@1
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import BNReLU, DownsamplerBlock, batch_norm
from .factorised import NonBottleneck1d, SymmetricNetwork, factorised_pair


class PFCU(nn.Module):
    """Parallel factorised unit: (N, C, H, W) -> the same shape.

    A factorised convolution, then three parallel dilated ones, which share one batch normalisation and are added to the
    input.
    """

    def __init__(self, channels: int, dropout: float = 0.3, dilations: tuple[int, ...] = (2, 5, 9)):
        super().__init__()
        self.near = nn.Sequential(*factorised_pair(channels), BNReLU(channels))
        self.branches = nn.ModuleList(
            nn.Sequential(*factorised_pair(channels, dilation=dilation)) for dilation in dilations
        )
        self.norm = batch_norm(channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        near = self.near(x)
        # As one batch, so that the branches share the batch statistics in training, as in evaluation.
        branches = self.dropout(self.norm(torch.cat([branch(near) for branch in self.branches])))
        return F.relu(sum(branches.chunk(len(self.branches)), start=x))


class ESNet(SymmetricNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Wang et al., ESNet, PRCV 2019"
    year = 2019

    def __init__(self, num_classes: int):
        encoder = nn.Sequential(
            DownsamplerBlock(3, 16),
            *(NonBottleneck1d(16, dropout=0.03) for _ in range(3)),
            DownsamplerBlock(16, 64),
            *(NonBottleneck1d(64, 5, dropout=0.03) for _ in range(2)),
            DownsamplerBlock(64, 128),
            *(PFCU(128) for _ in range(3)),
        )
        super().__init__(encoder, 5, num_classes)
