"""LRFA, SVFM and DAB against hand-computed cases, plain formulas and extreme inputs."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lsabinet_core.models import lrfa, rcad, svfm
from lsabinet_core.models.blocks import resize_bilinear
from lsabinet_core.models.dabnet import DABBackbone
from lsabinet_core.models.lrfa import LRFA, soft_pool
from lsabinet_core.models.rcad import RCAD
from lsabinet_core.models.svfm import SVFM, spatial_variance


@pytest.mark.parametrize(
    ("module", "build"),
    [(lrfa, lambda: LRFA(259)), (svfm, lambda: SVFM(259)), (rcad, lambda: RCAD(131, 259, 19))],
    ids=["lrfa", "svfm", "rcad"],
)
def test_docstrings_state_the_parameter_count(module, build):
    assert f"{sum(parameter.numel() for parameter in build().parameters()):,} parameters for" in module.__doc__


def test_soft_pool_matches_hand_computed_values():
    # The window 0, 0, 0, ln 3 has the weights 1, 1, 1, 3 (sum 6), so its mean is 3 ln 3 / 6.
    x = torch.tensor([[[[0.0, 0.0], [0.0, 3.0]]]]).clamp(max=torch.tensor(3.0).log())
    assert soft_pool(x, 2, 2).item() == pytest.approx(3 * torch.tensor(3.0).log().item() / 6, rel=1e-6)


def test_soft_pool_equals_the_plain_formula_if_that_is_finite():
    x = 3 * torch.randn(2, 5, 23, 31, dtype=torch.float64)
    plain = F.avg_pool2d(x.exp() * x, 7, 3) / F.avg_pool2d(x.exp(), 7, 3)
    torch.testing.assert_close(soft_pool(x.float(), 7, 3), plain.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_soft_pool_survives_large_activations(dtype):
    x = (torch.rand(1, 16, 45, 60) * 2e4 - 1e4).to(dtype)
    pooled = soft_pool(x, 7, 3)
    assert pooled.dtype == dtype
    assert torch.isfinite(pooled).all()
    # A softmax over values thousands apart selects the largest value if it is near the channel's maximum, and the
    # result stays within the range of the window.
    highest = F.max_pool2d(x.float(), 7, 3)
    lowest = -F.max_pool2d(-x.float(), 7, 3)
    assert (pooled.float() <= highest + 64).all()
    assert (pooled.float() >= lowest - 64).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_autocast_is_finite_at_soft_pool(dtype):
    module = LRFA(259)
    # Activations of +-1e4 arrive at SoftPool: the squeeze passes the first 16 channels through.
    module.squeeze.weight.zero_()
    module.squeeze.weight[torch.arange(16), torch.arange(16)] = 1
    module.squeeze.bias.zero_()
    x = torch.rand(1, 259, 45, 60) * 2e4 - 1e4
    with torch.autocast("cpu", dtype):
        assert torch.isfinite(module(x)).all()


@torch.no_grad()
def test_lrfa_gates_by_its_first_channel():
    module = LRFA(20)
    x = torch.randn(1, 20, 24, 24)
    x[:, 0] = -200
    assert module(x).abs().max() < 1e-6
    module.weigh.weight.zero_()
    module.weigh.bias.zero_()
    x[:, 0] = 200
    # The importance is sigmoid(0) = 1/2 everywhere, and the gate is 1.
    torch.testing.assert_close(module(x), x / 2)


def test_spatial_variance():
    x = torch.tensor([1.0, 2.0, 3.0, 6.0]).view(1, 1, 2, 2)
    assert spatial_variance(x).item() == pytest.approx(3.5)
    assert spatial_variance(torch.ones(1, 1, 1, 1)).item() == 0
    assert torch.isfinite(spatial_variance(torch.tensor([-6e4, 6e4]).half().view(1, 1, 1, 2))).all()


@torch.no_grad()
def test_svfm_starts_without_the_variance_and_accepts_any_size():
    module = SVFM(12)
    attention = module.structure
    assert (attention.alpha == 1).all()
    assert (attention.beta == 0).all()
    x = torch.randn(1, 12, 17, 9)
    structure = module.split(x).chunk(2, 1)[1]
    plain = F.gelu(attention.mix(attention.depthwise(F.adaptive_max_pool2d(structure, (2, 1)))))
    torch.testing.assert_close(attention(structure), structure * F.interpolate(plain, size=(17, 9), mode="nearest"))
    assert module(torch.randn(1, 12, 8, 8)).shape == (1, 12, 8, 8)


@torch.no_grad()
def test_backbone_shapes():
    shallow, deep = DABBackbone().eval()(torch.randn(1, 3, 101, 75))
    assert shallow.shape == (1, 131, 26, 19)
    assert deep.shape == (1, 259, 13, 10)


def test_a_compiled_resize_sums_its_gradient_in_fp32(monkeypatch):
    dtypes = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, operator, _types, arguments=(), options=None):
            if operator is torch.ops.aten.upsample_bilinear2d_backward.default:
                dtypes.append(arguments[0].dtype)
            return operator(*arguments, **(options or {}))

    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    coarse = torch.rand(1, 2, 3, 4, dtype=torch.bfloat16, requires_grad=True)
    with Spy():
        resize_bilinear(coarse, (24, 32)).sum().backward()
    assert dtypes == [torch.float32]
    assert coarse.grad.dtype == torch.bfloat16
    # The weights of a fine pixel add up to one.
    torch.testing.assert_close(coarse.grad.sum(), torch.tensor(2 * 24 * 32.0, dtype=torch.bfloat16))
