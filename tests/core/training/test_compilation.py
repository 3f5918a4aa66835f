"""Functions compiled for training."""

import copy
import shutil

import pytest
import torch

from lsabinet_core.models.blocks import BNPReLU
from lsabinet_core.training.compilation import compile_step


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
def test_compiled_bf16_gradient_is_correct():
    """With GCC's default flags, the relative error of this gradient was 0.42 on an Intel processor with AVX-512."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(BNPReLU(64), BNPReLU(64))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 1, 0.5)
    images = torch.randn(8, 64, 72, 96).contiguous(memory_format=torch.channels_last)
    direction = torch.randn(8, 64, 72, 96)

    def gradient(dtype, wrap):
        module = copy.deepcopy(network).train()
        x = images.to(dtype, copy=True).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = wrap(module)(x)
        (y.float() * direction).sum().backward()
        return x.grad.float()

    torch.compiler.reset()
    exact = gradient(torch.float32, lambda module: module)
    # With one thread, the code differs and the compiler made no mistake.
    with torch._inductor.config.patch("cpp.threads", 2):
        compiled = gradient(torch.bfloat16, compile_step)
    torch.compiler.reset()
    # bf16 has 8 significant bits.
    assert float((compiled - exact).norm() / exact.norm()) < 0.05
