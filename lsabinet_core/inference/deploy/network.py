"""A network with its normalisation: camera pixels in, logits out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.models.weights import WeightsMetadata

from .fold import fold_batch_norms
from .pointwise import merge_projection
from .static_shapes import StaticShapes

FORM = 3
"""Counts up when the deployed form changes, so that engines built from an older one are not taken for current."""


class DeployedNetwork(nn.Module):
    """Images uint8 (N, H, W, 3), BGR, to logits float32 (N, C, h, w) before the last upsampling.

    Args:
        model: a network of ``lsabinet_core.models``; it is copied.
        metadata: its normalisation.
        dtype: what the network computes in; pooling weights and variances that need it stay in float32.
        static: spell out what depends on the input's size, for engines and file formats that know no such operator.
            The result is then traced or exported for one H and W.
    """

    def __init__(
        self, model: nn.Module, metadata: WeightsMetadata, *, dtype: torch.dtype = torch.float32, static: bool = False
    ):
        super().__init__()
        network = fold_batch_norms(model)
        merge_projection(network)
        self.network = network.requires_grad_(False).to(dtype)
        self.dtype = dtype
        self.static = static
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (metadata.mean, metadata.std))
        self.register_buffer("scale", (1 / (255 * std)).float().view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).float().view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        # TensorRT takes uint8 for nothing but a cast. An index [2, 1, 0] would be copied to the GPU for each frame, and
        # no CUDA graph can hold that. The permutation leaves the memory as it is (channels last).
        rgb = torch.cat(images.float().chunk(3, 3)[::-1], 3).permute(0, 3, 1, 2)
        normalised = torch.addcmul(self.shift, rgb, self.scale).to(self.dtype)
        if self.static:
            with StaticShapes():
                return self.network.low_resolution_logits(normalised).float()
        return self.network.low_resolution_logits(normalised).float()


class MaskNetwork(nn.Module):
    """Images as ``DeployedNetwork`` takes them to masks of their size: class ids, uint8 (N, H, W)."""

    def __init__(self, deployed: DeployedNetwork):
        super().__init__()
        self.deployed = deployed

    def forward(self, images: Tensor) -> Tensor:
        logits = self.deployed(images)
        enlarged = F.interpolate(logits, size=images.shape[1:3], mode="bilinear", align_corners=False)
        # TensorRT's documentation of its data types has uint8 made from floating point alone.
        return enlarged.argmax(1).float().to(torch.uint8)


def static_network(model: nn.Module, metadata: WeightsMetadata, output: str, dtype: torch.dtype) -> nn.Module:
    """For file formats: a ``DeployedNetwork`` of one input size, on the CPU, in evaluation mode.

    Args:
        model, metadata, dtype: as ``DeployedNetwork``.
        output: ``logits`` or ``mask``.
    """
    deployed = DeployedNetwork(model, metadata, dtype=dtype, static=True)
    return (MaskNetwork(deployed) if output == "mask" else deployed).cpu().eval()
