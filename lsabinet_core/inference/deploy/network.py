"""A network with its normalisation: from camera pixels to logits."""

import contextlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.weights import WeightsMetadata

from .dynamic_shapes import DynamicShapes
from .fold import fold_batch_norms
from .pointwise import merge_projection
from .static_shapes import StaticShapes

FORM = 3
"""Version of the deployed form: increment it with every change, so that engines built from older forms are rebuilt."""


class DeployedNetwork(nn.Module):
    """Images uint8 (N, H, W, 3), BGR, to logits float32 (N, C, h, w) before the final upsampling.

    Args:
        model: a network of ``lsabinet_core.models``; it is copied.
        metadata: metadata with the normalisation.
        dtype: precision of the computation; pooling weights and variances that need it stay in float32.
        static: replace size-dependent operators by basic ones for one size, for engines and formats that lack them.
            The result must be traced or exported for one H and W.
        dynamic: replace them by basic operators that work for any H and W.
    """

    network: SegmentationNetwork
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: SegmentationNetwork,
        metadata: WeightsMetadata,
        *,
        dtype: torch.dtype = torch.float32,
        static: bool = False,
        dynamic: bool = False,
    ):
        super().__init__()
        network = fold_batch_norms(model)
        merge_projection(network)
        self.network = network.requires_grad_(False).to(dtype)
        self.dtype = dtype
        self.shapes = StaticShapes if static else DynamicShapes if dynamic else contextlib.nullcontext
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (metadata.mean, metadata.std))
        self.register_buffer("scale", (1 / (255 * std)).float().view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).float().view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        # TensorRT supports uint8 only in casts. Indexing with [2, 1, 0] would copy the index to the GPU in each frame,
        # which CUDA graphs cannot contain. The permutation only changes strides (to channels last).
        rgb = torch.cat(images.float().chunk(3, 3)[::-1], 3).permute(0, 3, 1, 2)
        normalised = torch.addcmul(self.shift, rgb, self.scale).to(self.dtype)
        with self.shapes():
            return self.network.low_resolution_logits(normalised).float()


class MaskNetwork(nn.Module):
    """Maps images as in ``DeployedNetwork`` to masks of their size: class ids, uint8 (N, H, W)."""

    def __init__(self, deployed: DeployedNetwork):
        super().__init__()
        self.deployed = deployed

    def forward(self, images: Tensor) -> Tensor:
        logits = self.deployed(images)
        enlarged = F.interpolate(logits, size=images.shape[1:3], mode="bilinear", align_corners=False)
        # According to TensorRT's documentation, only floating-point tensors can be cast to uint8.
        return enlarged.argmax(1).float().to(torch.uint8)


def network_for_files(
    model: SegmentationNetwork, metadata: WeightsMetadata, output: str, dtype: torch.dtype, *, any_size: bool = False
) -> nn.Module:
    """Create a ``DeployedNetwork`` for a file: for one input size or for any, on the CPU, in evaluation mode.

    Args:
        model, metadata, dtype: see ``DeployedNetwork``.
        output: ``logits`` or ``mask``.
        any_size: whether height and width stay dynamic.
    """
    deployed = DeployedNetwork(model, metadata, dtype=dtype, static=not any_size, dynamic=any_size)
    return (MaskNetwork(deployed) if output == "mask" else deployed).cpu().eval()
