"""Training precision, and the layers that must stay out of half precision."""

import torch
from torch import Tensor, nn

from lsabinet_core.inference.backends.choose import computes_in_bf16, device_name

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """A recipe's precision as ``fp32``, ``bf16`` or ``fp16``: ``auto`` is bf16 where it is faster than fp32."""
    if precision != "auto":
        return precision
    return "bf16" if computes_in_bf16(device) and not _is_slow_in_bf16(device) else "fp32"


def _is_slow_in_bf16(device: torch.device) -> bool:
    """Whether the device is an Intel processor with AVX-512 BF16 but without AMX (some virtual machines hide AMX).

    A compiled training step of LSA-BiNet takes longer in bf16 than in fp32 there (docs/performance.md, "Training").
    """
    if device.type != "cpu" or "Intel" not in device_name(device):
        return False
    return not torch.cpu.get_capabilities().get("amx_bf16")


class Float32Conv2d(nn.Conv2d):
    """Convolution that runs in fp32 under CPU autocast: (N, C, H, W) -> (N, C', H', W') in the dtype of the input."""

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


def keep_dilated_in_float32(network: nn.Module) -> None:
    """Run every dilated convolution of the network in fp32 when CPU autocast uses bf16.

    In bf16, oneDNN computes wrong gradients for dilated kernels (torch 2.13, AVX-512): the error of depthwise kernels
    exceeds the gradient itself, up to 1e34, and ordinary kernels give non-finite values. In fp32 they are correct, and
    depthwise kernels are faster. Weights, their names and the computation on a GPU do not change.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and max(module.dilation) > 1:
            module.__class__ = Float32Conv2d
