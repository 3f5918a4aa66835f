"""EDANet (Lo et al., "Efficient Dense Modules of Asymmetric Convolution for Real-Time Semantic Segmentation", ACM
Multimedia Asia 2019).

Dense modules of factorised convolutions. Convolutions with bias. 689,485 parameters for 19 classes, 8.833 GMACs at
512x1024:

    encoder   conv3x3 s2 || maxpool2                                             15@1/2
              conv3x3 s2 || maxpool2, 5 x EDA, dilations 1 1 1 2 2              260@1/4
              conv3x3 s2, 8 x EDA, dilations 2 2 4 4 8 8 16 16                  450@1/8
    classify  conv1x1                                                       classes@1/8

Known issue: with the default initialisation, evaluation mode gives nearly constant logits (one class everywhere) for
the first tens of steps while the training loss falls. There is neither activation nor normalisation between the two
halves of a factorised convolution, and with PyTorch's default weights their output variance is about 0.03, while the
running variance of batch normalisation starts at 1 and adapts slowly: 26 pairs in series attenuate the features down to
the biases. ``initialise`` alone makes the variance too large by a factor of two. ``EDA.reset_pairs`` gives every
normalisation layer an input variance near 1, so that both modes agree from the start.
"""

import itertools

import torch
from torch import Tensor, nn

from .blocks import BNReLU, DownsamplerBlock, SegmentationNetwork, initialise
from .factorised import factorised_conv

GROWTH = 40


class EDA(nn.Module):
    """Efficient dense module: (N, C, H, W) -> (N, C + 40, H, W), the new channels before the old ones.

    Pointwise convolution to 40 channels, then two factorised convolutions, the second dilated.
    """

    def __init__(self, in_channels: int, dilation: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(in_channels, GROWTH, 1), BNReLU(GROWTH)),
            *(*factorised_conv(GROWTH), BNReLU(GROWTH)),
            *(*factorised_conv(GROWTH, dilation=dilation), BNReLU(GROWTH)),
            nn.Dropout2d(0.02),
        )

    @torch.no_grad()
    def reset_pairs(self) -> None:
        """Initialise the second half of each factorised convolution for an input without ReLU."""
        for first, second in itertools.pairwise(self.body):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d):
                nn.init.kaiming_normal_(second.weight, mode="fan_in", nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.body(x), x], 1)


def dense_stage(in_channels: int, dilations: tuple[int, ...]) -> list[EDA]:
    """Create one EDA per dilation, each with 40 channels more than the previous one."""
    return [EDA(in_channels + GROWTH * i, dilation) for i, dilation in enumerate(dilations)]


class EDANet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Lo et al., EDANet, ACM Multimedia Asia 2019"
    year = 2019
    auxiliary_channels = (450,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.encoder = nn.Sequential(
            DownsamplerBlock(3, 15),
            DownsamplerBlock(15, 60),
            *dense_stage(60, (1, 1, 1, 2, 2)),
            DownsamplerBlock(260, 130),
            *dense_stage(130, (2, 2, 4, 4, 8, 8, 16, 16)),
        )
        self.classify = nn.Conv2d(450, num_classes, 1)
        initialise(self)
        for module in self.encoder:
            if isinstance(module, EDA):
                module.reset_pairs()

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        encoded = self.encoder(image)
        return self.classify(encoded), (encoded,)
