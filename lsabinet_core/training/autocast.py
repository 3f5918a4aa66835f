"""What half precision must leave alone in training."""

import torch
from torch import Tensor, nn


class Float32Conv2d(nn.Conv2d):
    """A convolution that a CPU's autocast leaves in fp32: (N, C, H, W) -> (N, C', H', W') of the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def keep_dilated_in_float32(network: nn.Module) -> None:
    """Have every dilated convolution of the network compute in fp32 where a CPU's autocast has bf16.

    In bf16, oneDNN's gradients of dilated kernels are wrong (torch 2.13, AVX-512): of depthwise ones off by more than
    their own size, sometimes 1e34; of ordinary ones not finite. In fp32 they are right, and depthwise ones faster.
    Weights, their names and what a GPU computes stay as they are.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and max(module.dilation) > 1:
            module.__class__ = Float32Conv2d
