"""ERFNet (Romera et al., "ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation",
IEEE Transactions on Intelligent Transportation Systems 2018).

2,064,191 parameters for 19 classes, 26.6 GMACs at 512x1024. Convolutions with bias. ``C@1/k`` is C channels at 1/k of
the input size:

    encoder  conv3x3 s2 || maxpool2                                              16@1/2
             conv3x3 s2 || maxpool2, 5 x NonBottleneck1d                         64@1/4
             conv3x3 s2 || maxpool2, 8 x NonBottleneck1d(2 4 8 16 2 4 8 16)     128@1/8
    decoder  transposed conv3x3 s2, 2 x NonBottleneck1d                          64@1/4
             transposed conv3x3 s2, 2 x NonBottleneck1d                          16@1/2
    classify transposed conv2x2 s2                                                C@1

The downsampler, the factorised residual blocks and the upsampler are also those of ESNet, LEDNet, EDANet and LCNet.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import BN_EPS, check_input, initialise


class BNReLU(nn.Sequential):
    """Batch normalisation, then ReLU: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__(nn.BatchNorm2d(channels, eps=BN_EPS), nn.ReLU())


class DownsamplerBlock(nn.Module):
    """Halves H and W (rounding up): strided convolution beside max pooling, then ``norm(out_channels)``.

    Where the width does not grow there is no pooling half, the convolution makes all channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Callable[[int], nn.Module] = BNReLU,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.pooled = in_channels < out_channels
        conv_channels = out_channels - in_channels if self.pooled else out_channels
        self.conv = nn.Conv2d(in_channels, conv_channels, 3, stride=2, padding=1, bias=bias)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.pooled:
            # ceil_mode: an odd size gives the same rounded-up size as the padded strided convolution.
            y = torch.cat([y, F.max_pool2d(x, 2, ceil_mode=True)], 1)
        return self.norm(y)


def factorised_conv(
    channels: int, kernel_size: int = 3, *, dilation: int = 1, horizontal_first: bool = False
) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A vertical (k x 1) and a horizontal (1 x k) convolution with bias that keep H and W, in the order they run."""
    reach = dilation * (kernel_size // 2)
    vertical = nn.Conv2d(channels, channels, (kernel_size, 1), padding=(reach, 0), dilation=(dilation, 1))
    horizontal = nn.Conv2d(channels, channels, (1, kernel_size), padding=(0, reach), dilation=(1, dilation))
    return (horizontal, vertical) if horizontal_first else (vertical, horizontal)


class FactorisedResidual(nn.Sequential):
    """The residual of a non-bottleneck-1d: two factorised convolutions, the second dilated, (N, C, H, W) -> the same.

    ReLU after every convolution but the last, batch normalisation after every pair.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int, dropout: float, horizontal_first: bool = False):
        near = factorised_conv(channels, kernel_size, horizontal_first=horizontal_first)
        far = factorised_conv(channels, kernel_size, dilation=dilation, horizontal_first=horizontal_first)
        super().__init__(
            *(near[0], nn.ReLU(), near[1], BNReLU(channels)),
            *(far[0], nn.ReLU(), far[1], nn.BatchNorm2d(channels, eps=BN_EPS)),
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


class ERFNet(nn.Module):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Romera et al., ERFNet, IEEE T-ITS 2018"
    year = 2018

    def __init__(self, num_classes: int):
        super().__init__()
        self.encoder = nn.Sequential(
            DownsamplerBlock(3, 16),
            DownsamplerBlock(16, 64),
            *(NonBottleneck1d(64, dropout=0.03) for _ in range(5)),
            DownsamplerBlock(64, 128),
            *(NonBottleneck1d(128, dilation=dilation, dropout=0.3) for dilation in 2 * (2, 4, 8, 16)),
        )
        self.decoder = nn.Sequential(
            UpsamplerBlock(128, 64),
            *(NonBottleneck1d(64) for _ in range(2)),
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
