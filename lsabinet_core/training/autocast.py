"""In which precision a training computes, and what half precision must leave alone."""

import torch
from torch import Tensor, nn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_precision(precision: str, device: torch.device) -> str:
    """A recipe's precision as ``fp32``, ``bf16`` or ``fp16``: ``auto`` is bf16 where the device computes in it.

    A processor that does not (before AVX-512 BF16, AMX) imitates it, at a fraction of the speed of fp32.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # x86 names its instructions, ARM says bf16, and an older PyTorch says nothing.
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if native else "fp32"


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
