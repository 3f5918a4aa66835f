"""The precision of a training follows the capabilities of the device."""

import pytest
import torch

from lsabinet_core.training.autocast import keep_dilated_in_float32, resolve_precision
from lsabinet_core.training.auxiliary import Supervised
from lsabinet_core.training.objective import Objective
from lsabinet_core.training.recipe import Recipe

CPU = torch.device("cpu")


AMD, INTEL, ARM = "AMD EPYC 9554", "Intel(R) Xeon(R) Platinum 8480+", "Neoverse-V2"


@pytest.mark.parametrize(
    ("processor", "instructions", "precision"),
    [
        (AMD, {"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "fp32"),
        (INTEL, {"avx512_f": True, "avx512_bf16": False}, "fp32"),
        (INTEL, {"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, "fp32"),
        (INTEL, {"avx512_f": True, "avx512_bf16": True, "amx_bf16": True}, "bf16"),
        (AMD, {"avx512_f": True, "avx512_bf16": True}, "bf16"),
        (ARM, {"neon": True, "bf16": True}, "bf16"),
    ],
)
def test_auto_precision_follows_the_processor(monkeypatch, processor, instructions, precision):
    monkeypatch.setattr("lsabinet_core.training.autocast.device_name", lambda device: processor)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert resolve_precision("auto", CPU) == precision
    objective = Objective(Supervised(torch.nn.Conv2d(3, 2, 1), 2, heads=False), None, Recipe(precision="auto"))
    assert objective.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def test_explicit_precision_is_kept():
    assert [resolve_precision(precision, CPU) for precision in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_dilated_convolutions_stay_in_fp32():
    dilated, plain = torch.nn.Conv2d(3, 4, 3, dilation=(1, 2)), torch.nn.Conv2d(3, 4, 3)
    network = torch.nn.Sequential(dilated, plain)
    names = list(network.state_dict())
    image = torch.randn(1, 3, 16, 16)
    expected = dilated(image)
    expected_of_half = dilated(image.bfloat16().float()).bfloat16()
    keep_dilated_in_float32(network)
    assert list(network.state_dict()) == names
    with torch.autocast("cpu", torch.bfloat16):
        assert plain(image).dtype == torch.bfloat16
        torch.testing.assert_close(dilated(image), expected, rtol=0, atol=0)
        torch.testing.assert_close(dilated(image.bfloat16()), expected_of_half, rtol=0, atol=0)
    torch.testing.assert_close(dilated(image), expected, rtol=0, atol=0)
