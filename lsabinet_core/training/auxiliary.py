"""Auxiliary heads: classifiers on inner features, used in training only (deep supervision, Lee et al., 2015)."""

import copy

import torch
from torch import Tensor, nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.models.blocks import ConvBNPReLU, SegmentationNetwork, initialise, resize_bilinear

HEAD_CHANNELS = 64


class Supervised(nn.Module):
    """A network with one auxiliary head per entry of its ``auxiliary_channels``.

    Images (N, 3, H, W) -> logits (N, C, H, W), and for each head (N, C, h, w) at the resolution of its features.
    """

    network: SegmentationNetwork

    def __init__(self, network: SegmentationNetwork, num_classes: int, heads: bool):
        super().__init__()
        self.network = network
        channels = ()
        if heads:
            channels = getattr(network, "auxiliary_channels", ())
            if not channels:
                raise RecipeError(f"{type(network).__name__} has no auxiliary features: set auxiliary_weight to 0")
        self.heads = nn.ModuleList(
            nn.Sequential(ConvBNPReLU(width, HEAD_CHANNELS), nn.Conv2d(HEAD_CHANNELS, num_classes, 1))
            for width in channels
        )
        self.heads.apply(initialise)
        self._sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        if not self.heads:
            return self.network(image), []
        logits, features = self.network.with_features(image)
        auxiliary = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return resize_bilinear(logits, image.shape[-2:]), auxiliary

    def auxiliary_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """(h, w) of each head's logits for images of ``size`` (H, W)."""
        if not self.heads:
            return []
        if size not in self._sizes:
            # The meta device infers shapes without computing anything, so batch-norm statistics stay unchanged.
            network = copy.deepcopy(self.network).to("meta").eval()
            dtype = next(network.parameters()).dtype
            _, features = network.with_features(torch.empty(1, 3, *size, dtype=dtype, device="meta"))
            self._sizes[size] = [(feature.shape[2], feature.shape[3]) for feature in features]
        return self._sizes[size]


def shrink_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour downsampling of labels (N, H, W), sampled at cell centres: (N, *size)."""
    rows, columns = (
        (2 * torch.arange(cells, device=labels.device) + 1) * length // (2 * cells)
        for cells, length in zip(size, labels.shape[1:], strict=True)
    )
    return labels[:, rows[:, None], columns]
