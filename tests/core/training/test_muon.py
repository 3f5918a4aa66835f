"""Muon: orthogonal updates of kernels by singular value decomposition, the others against AdamW of PyTorch."""

import copy

import pytest
import torch
from torch import nn

from lsabinet_core.training.muon import UPDATE_RMS, Muon, orthogonalise
from lsabinet_core.training.optimizer import create_optimizer
from lsabinet_core.training.recipe import Optimizer

SETTINGS = {"momentum": 0.9, "betas": (0.8, 0.95), "weight_decay": 0.1}


@pytest.mark.parametrize("shape", [(16, 144), (64, 64), (128, 20)])
def test_orthogonalise_keeps_directions_and_equalises_singular_values(shape):
    generator = torch.Generator().manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.logspace(0, -1.5, min(shape))
    found = orthogonalise(100 * left @ values.diag() @ right)
    aligned = left.T @ found @ right.T
    torch.testing.assert_close(aligned, aligned.diagonal().diag(), atol=1e-3, rtol=0)
    assert 0.6 < aligned.diagonal().min() < aligned.diagonal().max() < 1.25


def gradients_of(parameters):
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return [parameter.grad.clone() for parameter in parameters]


def test_other_parameters_are_updated_like_adamw():
    torch.manual_seed(2)
    # A depthwise kernel, a small kernel, a bias and a scale.
    parameters = [nn.Parameter(torch.randn(shape)) for shape in ((64, 1, 3, 3), (8, 32, 3, 3), (64,), (1,))]
    twins = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    muon = Muon(parameters, 0.01, **SETTINGS)
    adam = torch.optim.AdamW(twins, 0.01, betas=SETTINGS["betas"], weight_decay=SETTINGS["weight_decay"])
    for _ in range(4):
        for twin, gradient in zip(twins, gradients_of(parameters), strict=True):
            twin.grad = gradient
        muon.step()
        adam.step()
    for parameter, twin in zip(parameters, twins, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-4, atol=1e-6)


def test_kernels_move_along_the_orthogonal_momentum():
    torch.manual_seed(3)
    kernel = nn.Parameter(torch.randn(16, 8, 3, 3).to(memory_format=torch.channels_last))
    muon = Muon([kernel], 0.01, **SETTINGS)
    expected, momentum = kernel.detach().clone(), torch.zeros(16, 72)
    for _ in range(3):
        gradient = gradients_of([kernel])[0].flatten(1)
        momentum = 0.9 * momentum + 0.1 * gradient
        update = orthogonalise(0.1 * gradient + 0.9 * momentum).reshape(kernel.shape)
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * UPDATE_RMS * 72**0.5 * update
        muon.step()
        torch.testing.assert_close(kernel.detach(), expected)
    change = UPDATE_RMS * 72**0.5 * update
    # 16 of 72 columns: the rows of an orthogonal matrix with a norm of about 1 have a mean square of 1 / 72.
    assert change.square().mean().sqrt() == pytest.approx(UPDATE_RMS, rel=0.3)


def test_parameters_without_gradient_stay():
    kernel, bias = nn.Parameter(torch.randn(16, 16, 1, 1)), nn.Parameter(torch.randn(16))
    before = [kernel.detach().clone(), bias.detach().clone()]
    Muon([kernel, bias], 0.01, **SETTINGS).step()
    torch.testing.assert_close([kernel.detach(), bias.detach()], before, rtol=0, atol=0)


def test_state_restores_exactly():
    def fresh():
        torch.manual_seed(4)
        network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3))
        return network, create_optimizer(Optimizer(name="muon", momentum=0.95), network)

    network, muon = fresh()
    for _ in range(2):
        gradients_of(network.parameters())
        muon.step()
    other, resumed = fresh()
    other.load_state_dict(network.state_dict())
    # As from a checkpoint: the tensors are not shared.
    resumed.load_state_dict(copy.deepcopy(muon.state_dict()))
    for parameter, twin in zip(network.parameters(), other.parameters(), strict=True):
        parameter.grad = torch.randn_like(parameter)
        twin.grad = parameter.grad.clone()
    muon.step()
    resumed.step()
    torch.testing.assert_close(other.state_dict(), network.state_dict(), rtol=0, atol=0)
