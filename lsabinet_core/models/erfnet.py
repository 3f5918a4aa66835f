"""ERFNet (Romera et al., "ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation",
IEEE Transactions on Intelligent Transportation Systems 2018).

Residual blocks of factorised convolutions. Convolutions with bias. 2,064,191 parameters for 19 classes, 26.60 GMACs at
512x1024:

    encoder   conv3x3 s2 || maxpool2                                             16@1/2
              conv3x3 s2 || maxpool2, 5 x NonBottleneck1d                        64@1/4
              conv3x3 s2 || maxpool2, 8 x NonBottleneck1d,
              dilations 2 4 8 16 2 4 8 16                                       128@1/8
    decoder   transposed conv3x3 s2, 2 x NonBottleneck1d                         64@1/4
              transposed conv3x3 s2, 2 x NonBottleneck1d                         16@1/2
    classify  transposed conv2x2 s2                                         classes@1
"""

from torch import nn

from .blocks import DownsamplerBlock
from .factorised import NonBottleneck1d, SymmetricNetwork


class ERFNet(SymmetricNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Romera et al., ERFNet, IEEE T-ITS 2018"
    year = 2018

    def __init__(self, num_classes: int):
        encoder = nn.Sequential(
            DownsamplerBlock(3, 16),
            DownsamplerBlock(16, 64),
            *(NonBottleneck1d(64, dropout=0.03) for _ in range(5)),
            DownsamplerBlock(64, 128),
            *(NonBottleneck1d(128, dilation=dilation, dropout=0.3) for dilation in 2 * (2, 4, 8, 16)),
        )
        super().__init__(encoder, 3, num_classes)
