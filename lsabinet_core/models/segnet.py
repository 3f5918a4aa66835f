"""SegNet (Badrinarayanan et al., "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
TPAMI 2017).

The convolutions of VGG16 as encoder, mirrored as decoder with max unpooling. Every convolution is 3x3 with bias, batch
normalisation and ReLU; the last one has only a bias. 29,453,971 parameters for 19 classes, 325.5 GMACs at 512x1024:

    encoder   2 x conv3x3, maxpool2                                              64@1/2
              2 x conv3x3, maxpool2                                             128@1/4
              3 x conv3x3, maxpool2                                             256@1/8
              3 x conv3x3, maxpool2                                             512@1/16
              3 x conv3x3, maxpool2                                             512@1/32
    decoder   maxunpool2, 3 x conv3x3                                           512@1/16
              maxunpool2, 3 x conv3x3                                           256@1/8
              maxunpool2, 3 x conv3x3                                           128@1/4
              maxunpool2, 2 x conv3x3                                            64@1/2
              maxunpool2, conv3x3                                                64@1
    classify  conv3x3                                                       classes@1
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import SegmentationNetwork, initialise

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


class ConvStage(nn.Sequential):
    """3x3 convolutions of the given widths, each with batch normalisation and ReLU: (N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, in_channels: int, widths: tuple[int, ...]):
        layers = []
        for before, after in zip((in_channels, *widths), widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        super().__init__(*layers)


def conv_stages(in_channels: int, stages: tuple[tuple[int, ...], ...]) -> nn.ModuleList:
    """Create one ConvStage for each tuple of widths, chained by their last widths."""
    before = (in_channels, *(widths[-1] for widths in stages))
    return nn.ModuleList(ConvStage(channels, widths) for channels, widths in zip(before, stages))


class SegNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Badrinarayanan et al., SegNet, IEEE TPAMI 2017"
    year = 2017
    auxiliary_channels = (512,)

    def __init__(self, num_classes: int):
        super().__init__()
        self.encoder = conv_stages(3, ENCODER)
        self.decoder = conv_stages(ENCODER[-1][-1], DECODER)
        self.classify = nn.Conv2d(DECODER[-1][-1], num_classes, 3, padding=1)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor]]:
        x, maxima = image, []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            maxima.append((indices, size))
        encoded = x
        for stage, (indices, size) in zip(self.decoder, reversed(maxima)):
            x = stage(F.max_unpool2d(x, indices, (2, 2), output_size=size))
        return self.classify(x), (encoded,)
