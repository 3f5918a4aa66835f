"""ESNet (Wang et al., "ESNet: An Efficient Symmetric Network for Real-Time Semantic Segmentation", PRCV 2019).

ERFNet's factorised blocks with larger kernels at 1/4, and parallel ones at 1/8; the decoder mirrors the encoder.
Convolutions with bias. 1,658,551 parameters for 11 classes:

    encoder  conv3x3 s2 || maxpool2, 3 x FCU(kernel 3)                    16@1/2
             conv3x3 s2 || maxpool2, 2 x FCU(kernel 5)                    64@1/4
             conv3x3 s2 || maxpool2, 3 x PFCU(dilations 2 5 9)           128@1/8
    decoder  transposed conv3x3 s2, 2 x FCU(kernel 5)                     64@1/4
             transposed conv3x3 s2, 2 x FCU(kernel 3)                     16@1/2
    classify transposed conv2x2 s2                                   classes@1
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import BN_EPS, check_input, initialise
from .erfnet import BNReLU, DownsamplerBlock, NonBottleneck1d, UpsamplerBlock, factorised_conv


class PFCU(nn.Module):
    """Parallel factorised unit: (N, C, H, W) -> the same shape.

    A factorised convolution, then three dilated ones side by side, which share one batch normalisation and are added
    to the input.
    """

    def __init__(self, channels: int, dropout: float = 0.3, dilations: tuple[int, ...] = (2, 5, 9)):
        super().__init__()
        vertical, horizontal = factorised_conv(channels)
        self.near = nn.Sequential(vertical, nn.ReLU(), horizontal, BNReLU(channels))
        self.branches = nn.ModuleList()
        for dilation in dilations:
            vertical, horizontal = factorised_conv(channels, dilation=dilation)
            self.branches.append(nn.Sequential(vertical, nn.ReLU(), horizontal))
        self.norm = nn.BatchNorm2d(channels, eps=BN_EPS)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        near = self.near(x)
        # As one batch, so that training normalises the branches by the statistics of all, as evaluation does.
        branches = self.dropout(self.norm(torch.cat([branch(near) for branch in self.branches])))
        return F.relu(sum(branches.chunk(len(self.branches)), start=x))


class ESNet(nn.Module):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Wang et al., ESNet, PRCV 2019"
    year = 2019

    def __init__(self, num_classes: int):
        super().__init__()
        self.encoder = nn.Sequential(
            DownsamplerBlock(3, 16),
            *(NonBottleneck1d(16, dropout=0.03) for _ in range(3)),
            DownsamplerBlock(16, 64),
            *(NonBottleneck1d(64, 5, dropout=0.03) for _ in range(2)),
            DownsamplerBlock(64, 128),
            *(PFCU(128) for _ in range(3)),
        )
        self.decoder = nn.Sequential(
            UpsamplerBlock(128, 64),
            *(NonBottleneck1d(64, 5) for _ in range(2)),
            UpsamplerBlock(64, 16),
            *(NonBottleneck1d(16) for _ in range(2)),
        )
        self.classify = nn.ConvTranspose2d(16, num_classes, 2, stride=2)
        initialise(self)

    def low_resolution_logits(self, image: Tensor) -> Tensor:
        """The same as ``forward``: the decoder ends at the image's own size."""
        check_input(image)
        height, width = image.shape[-2:]
        # Each halving rounded up, so the decoder ends with up to 7 rows and columns more than the image has.
        return self.classify(self.decoder(self.encoder(image)))[..., :height, :width]

    def forward(self, image: Tensor) -> Tensor:
        return self.low_resolution_logits(image)
