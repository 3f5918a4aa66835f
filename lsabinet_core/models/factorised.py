"""ERFNet's blocks (Romera et al., "ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation",
IEEE Transactions on Intelligent Transportation Systems 2018), as ERFNet, ESNet, LEDNet and EDANet use them.

A convolution is factorised into a vertical and a horizontal one. All have bias; batch normalisation uses eps 1e-3.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import BNReLU, SegmentationNetwork, batch_norm, initialise


def factorised_conv(
    channels: int, kernel_size: int = 3, *, dilation: int = 1, horizontal_first: bool = False
) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Create a vertical (k x 1) and a horizontal (1 x k) convolution with bias that keep H and W, in order."""
    reach = dilation * (kernel_size // 2)
    vertical = nn.Conv2d(channels, channels, (kernel_size, 1), padding=(reach, 0), dilation=(dilation, 1))
    horizontal = nn.Conv2d(channels, channels, (1, kernel_size), padding=(0, reach), dilation=(1, dilation))
    return (horizontal, vertical) if horizontal_first else (vertical, horizontal)


def factorised_pair(channels: int, kernel_size: int = 3, **options: Any) -> list[nn.Module]:
    """Create a factorised convolution with ReLU between its halves; ``options`` are those of ``factorised_conv``."""
    first, second = factorised_conv(channels, kernel_size, **options)
    return [first, nn.ReLU(), second]


class FactorisedResidual(nn.Sequential):
    """The residual of a non-bottleneck-1d: two factorised convolutions, the second dilated, (N, C, H, W) -> the same.

    ReLU after every convolution but the last, batch normalisation after every pair.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int, dropout: float, horizontal_first: bool = False):
        order = {"horizontal_first": horizontal_first}
        super().__init__(
            *(*factorised_pair(channels, kernel_size, **order), BNReLU(channels)),
            *(*factorised_pair(channels, kernel_size, dilation=dilation, **order), batch_norm(channels)),
            nn.Dropout2d(dropout),
        )


class NonBottleneck1d(nn.Module):
    """Factorised residual block: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int, kernel_size: int = 3, *, dilation: int = 1, dropout: float = 0.0):
        super().__init__()
        self.residual = FactorisedResidual(channels, kernel_size, dilation, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.residual(x))


class UpsamplerBlock(nn.Sequential):
    """Doubles H and W: transposed convolution, then BNReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(
            nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1),
            BNReLU(out_channels),
        )


class SymmetricNetwork(SegmentationNetwork):
    """Encoder to 128@1/8, decoder to 16@1/2 with a few residual blocks, transposed convolution to the image's size.

    Args:
        encoder: (N, 3, H, W) -> (N, 128, H/8, W/8), rounded up.
        kernel_size: of the decoder's blocks at 1/4.
        num_classes: C.
    """

    auxiliary_channels = (128,)

    def __init__(self, encoder: nn.Module, kernel_size: int, num_classes: int):
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Sequential(
            UpsamplerBlock(128, 64),
            *(NonBottleneck1d(64, kernel_size) for _ in range(2)),
            UpsamplerBlock(64, 16),
            *(NonBottleneck1d(16) for _ in range(2)),
        )
        self.classify = nn.ConvTranspose2d(16, num_classes, 2, stride=2)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        height, width = image.shape[-2:]
        encoded = self.encoder(image)
        # Each downsampling rounds up, so the decoder output may have up to 7 rows and columns too many.
        return self.classify(self.decoder(encoded))[..., :height, :width], (encoded,)
