"""LSA-BiNet (Gui et al., "Local-Semantic Attentive Bidirectional Bottleneck Network with Residual Feature Augmentation
for Realtime Semantic Segmentation", ICIC 2025).

The DABNet backbone with local attention, fusion with the spatial variance, and a two-level decoder. 1,841,915
parameters for 19 classes, 26.30 GMACs at 512x1024:

    backbone  DABNet without its classifier                       shallow 131@1/4, deep 259@1/8
    lrfa      local receptive field attention on deep                              259@1/8
    svfm      spatial variance fusion on deep                                      259@1/8
    decoder   RCAD, residual cross-level attention over shallow and deep       classes@1/4

Each of the three modules can be disabled. Without RCAD, a 1x1 convolution classifies the deep features at 1/8. Without
all three, the network is DABNet.
"""

from torch import Tensor, nn

from .blocks import SegmentationNetwork, initialise
from .dabnet import DEEP_CHANNELS, SHALLOW_CHANNELS, DABBackbone, pixel_classifier
from .lrfa import LRFA
from .rcad import RCAD
from .svfm import SVFM


class DeepHead(nn.Module):
    """DABNet's classifier with RCAD's interface: shallow (unused) and deep (N, 259, h, w) -> (N, C, h, w)."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.classify = pixel_classifier(num_classes)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        return self.classify(deep)


class LSABiNet(SegmentationNetwork):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W).

    Args:
        num_classes: C.
        lrfa: whether to use local receptive field attention.
        svfm: whether to use spatial variance fusion.
        rcad: whether to use the residual cross-level attention decoder; without it the low-resolution logits are at
            1/8 instead of 1/4.
    """

    paper = "Gui et al., LSA-BiNet, ICIC 2025"
    year = 2025
    auxiliary_channels = (DEEP_CHANNELS, DEEP_CHANNELS)

    def __init__(self, num_classes: int, *, lrfa: bool = True, svfm: bool = True, rcad: bool = True):
        super().__init__()
        self.backbone = DABBackbone()
        self.lrfa = LRFA(DEEP_CHANNELS) if lrfa else nn.Identity()
        self.svfm: nn.Module = SVFM(DEEP_CHANNELS) if svfm else nn.Identity()
        if rcad:
            self.decoder = RCAD(SHALLOW_CHANNELS, DEEP_CHANNELS, num_classes)
        else:
            self.decoder = DeepHead(num_classes)
        initialise(self)

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the logits, and the features at 1/8 before LRFA and after SVFM."""
        shallow, deep = self.backbone(image)
        context = self.svfm(self.lrfa(deep))
        return self.decoder(shallow, context), (deep, context)
