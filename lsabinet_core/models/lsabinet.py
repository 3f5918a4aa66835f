"""LSA-BiNet (Gui et al., "Local-Semantic Attentive Bidirectional Bottleneck Network with Residual Feature Augmentation
for Realtime Semantic Segmentation", ICIC 2025).

DABNet's features, attended to, fused with their spatial variance, and decoded over two levels. 1,841,915 parameters for
19 classes, 26.30 GMACs at 512x1024:

    backbone  DABNet's without its classifier                     shallow 131@1/4, deep 259@1/8
    lrfa      local receptive field attention on deep                              259@1/8
    svfm      spatial variance fusion on deep                                      259@1/8
    decoder   RCAD, residual cross-level attention over shallow and deep       classes@1/4

Each of the three modules can be left out; without RCAD a 1x1 convolution classifies the deep features at 1/8. With all
three left out the network is DABNet.
"""

from torch import Tensor, nn

from .blocks import check_input, initialise, resize_bilinear
from .dabnet import DEEP_CHANNELS, SHALLOW_CHANNELS, DABBackbone
from .lrfa import LRFA
from .rcad import RCAD
from .svfm import SVFM


class LSABiNet(nn.Module):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W)."""

    paper = "Gui et al., LSA-BiNet, ICIC 2025"
    year = 2025
    auxiliary_channels = (DEEP_CHANNELS, DEEP_CHANNELS)

    def __init__(self, num_classes: int, *, lrfa: bool = True, svfm: bool = True, rcad: bool = True):
        super().__init__()
        self.backbone = DABBackbone()
        self.lrfa = LRFA(DEEP_CHANNELS) if lrfa else nn.Identity()
        self.svfm = SVFM(DEEP_CHANNELS) if svfm else nn.Identity()
        if rcad:
            self.decoder = RCAD(SHALLOW_CHANNELS, DEEP_CHANNELS, num_classes)
        else:
            self.decoder = DeepHead(DEEP_CHANNELS, num_classes)
        initialise(self)

    def low_resolution_logits(self, image: Tensor) -> Tensor:
        """Logits before the last upsampling: (N, num_classes, H/4, W/4), or H/8, W/8 without RCAD; rounded up."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``low_resolution_logits``, and the features at 1/8 that a training may supervise: before LRFA, after SVFM."""
        check_input(image)
        shallow, deep = self.backbone(image)
        context = self.svfm(self.lrfa(deep))
        return self.decoder(shallow, context), (deep, context)

    def forward(self, image: Tensor) -> Tensor:
        return resize_bilinear(self.low_resolution_logits(image), image.shape[-2:])


class DeepHead(nn.Module):
    """DABNet's head: a 1x1 convolution on the deep features, (N, D, h, w) -> (N, num_classes, h, w)."""

    def __init__(self, deep_channels: int, num_classes: int):
        super().__init__()
        # DABNet's convolutions carry no bias, its classifier included.
        self.classify = nn.Conv2d(deep_channels, num_classes, 1, bias=False)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        return self.classify(deep)
