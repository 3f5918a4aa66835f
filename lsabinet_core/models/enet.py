"""ENet (Paszke et al., "ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation", 2016).

A large encoder of bottlenecks and a small decoder with max unpooling. Convolutions without bias, PReLU with one slope
(ReLU in the decoder). 360,422 parameters for 19 classes, 2,432 of them in an unused classifier, see ``ENet``; 4.121
GMACs at 512x1024:

    initial   conv3x3 s2 || maxpool3 s2                                          16@1/2
    stage1    down, 4 regular                                                    64@1/4
    stage2    down, regular, dilated 2, asymmetric, dilated 4,
              regular, dilated 8, asymmetric, dilated 16                        128@1/8
    stage3    stage2 without its down                                           128@1/8
    stage4    up, 2 regular                                                      64@1/4
    stage5    up, 1 regular                                                      16@1/2
    classify  transposed conv3x3 s2                                         classes@1
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import SegmentationNetwork, initialise

conv = partial(nn.Conv2d, bias=False)


class ENetBottleneck(nn.Module):
    """The learnt branch of a bottleneck, which is added to the main path.

    Args:
        convs: convolutions in order; each is followed by batch normalisation and an activation.
        dropout: probability of dropping a channel before the addition.
        activation: class of the activation.
        shared: whether all activations of the bottleneck share their parameters.
    """

    def __init__(
        self,
        *convs: nn.Conv2d | nn.ConvTranspose2d,
        dropout: float,
        activation: type[nn.Module] = nn.PReLU,
        shared: bool = True,
    ):
        super().__init__()
        self.convs = nn.ModuleList(nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)) for conv in convs)
        self.dropout = nn.Dropout2d(dropout)
        self.activations = nn.ModuleList(activation() for _ in range(1 if shared else len(convs) + 1))

    def extend(self, x: Tensor, main: Tensor) -> Tensor:
        """x (N, C, h, w), main (N, C', H, W) -> (N, C', H, W)."""
        places = len(self.convs) + 1
        *inner, last = (self.activations[place % len(self.activations)] for place in range(places))
        for layer, activation in zip(self.convs, inner):
            x = activation(layer(x))
        # Upsampling gives one row or column too many if the encoder halved an odd size.
        return last(main + self.dropout(x)[..., : main.shape[-2], : main.shape[-1]])


class Regular(ENetBottleneck):
    """(N, C, H, W) -> the same shape: 1x1 to C / 4, ``main``, 1x1 back to C, where ``main`` is dilated or 5x1, 1x5."""

    def __init__(self, channels: int, *, dilation: int = 1, asymmetric: bool = False, **options: Any):
        width = channels // 4
        if asymmetric:
            main = [conv(width, width, (5, 1), padding=(2, 0)), conv(width, width, (1, 5), padding=(0, 2))]
        else:
            main = [conv(width, width, 3, padding=dilation, dilation=dilation)]
        super().__init__(conv(channels, width, 1), *main, conv(width, channels, 1), **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.extend(x, x)


class Downsampling(ENetBottleneck):
    """(N, C, H, W) -> (N, C', ceil(H/2), ceil(W/2)), and the max pooling indices of the main path."""

    def __init__(self, in_channels: int, out_channels: int, **options: Any):
        width = in_channels // 4
        super().__init__(
            conv(in_channels, width, 2, stride=2),
            conv(width, width, 3, padding=1),
            conv(width, out_channels, 1),
            **options,
        )
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        main, indices = F.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
        main = F.pad(main, (0, 0, 0, 0, 0, self.new_channels))
        height, width = x.shape[-2:]
        return self.extend(F.pad(x, (0, width % 2, 0, height % 2)), main), indices


class Upsampling(ENetBottleneck):
    """(N, C, h, w), max pooling indices and the size before pooling -> (N, C', *size)."""

    def __init__(self, in_channels: int, out_channels: int, **options: Any):
        width = in_channels // 4
        super().__init__(
            conv(in_channels, width, 1),
            nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1, bias=False),
            conv(width, out_channels, 1),
            **options,
        )
        self.main = nn.Sequential(conv(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        return self.extend(x, F.max_unpool2d(self.main(x), indices, (2, 2), output_size=size))


def context_stage(**options: Any) -> nn.Sequential:
    """Eight bottlenecks of 128 channels, every other one dilated, two asymmetric."""
    regular = partial(Regular, 128, **options)
    return nn.Sequential(
        *(regular(), regular(dilation=2), regular(asymmetric=True), regular(dilation=4)),
        *(regular(), regular(dilation=8), regular(asymmetric=True), regular(dilation=16)),
    )


class ENet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W).

    Args:
        num_classes: C.
        encoder_head: whether to keep the encoder's classifier, which the paper uses to pretrain the encoder. It is
            frozen, because no output depends on it, but the published count includes it.
        shared_prelu: whether the activations of a bottleneck share one slope, as published.
    """

    paper = "Paszke et al., ENet, arXiv 2016"
    year = 2016
    auxiliary_channels = (128,)

    def __init__(self, num_classes: int, *, encoder_head: bool = True, shared_prelu: bool = True):
        super().__init__()
        shallow = {"dropout": 0.01, "shared": shared_prelu}
        deep = {"dropout": 0.1, "shared": shared_prelu}
        decoding = {**deep, "activation": nn.ReLU}
        self.initial = conv(3, 13, 3, stride=2, padding=1)
        self.initial_norm = nn.Sequential(nn.BatchNorm2d(13 + 3), nn.PReLU())
        self.down1 = Downsampling(16, 64, **shallow)
        self.stage1 = nn.Sequential(*(Regular(64, **shallow) for _ in range(4)))
        self.down2 = Downsampling(64, 128, **deep)
        self.stage2 = context_stage(**deep)
        self.stage3 = context_stage(**deep)
        if encoder_head:
            self.encoder_head = conv(128, num_classes, 1).requires_grad_(False)
        self.up4 = Upsampling(128, 64, **decoding)
        self.stage4 = nn.Sequential(*(Regular(64, **decoding) for _ in range(2)))
        self.up5 = Upsampling(64, 16, **decoding)
        self.stage5 = Regular(16, **decoding)
        self.classify = nn.ConvTranspose2d(16, num_classes, 3, stride=2, padding=1, bias=False)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        half = torch.cat([self.initial(image), F.max_pool2d(image, 3, stride=2, padding=1)], 1)
        half = self.initial_norm(half)
        quarter, half_maxima = self.down1(half)
        quarter = self.stage1(quarter)
        eighth, quarter_maxima = self.down2(quarter)
        eighth = self.stage3(self.stage2(eighth))
        x = self.stage4(self.up4(eighth, quarter_maxima, quarter.shape[-2:]))
        x = self.stage5(self.up5(x, half_maxima, half.shape[-2:]))
        return self.classify(x, output_size=image.shape[-2:]), (eighth,)
