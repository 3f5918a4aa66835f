"""The optimiser of a recipe."""

import torch
from torch import nn

from .muon import Muon
from .recipe import Optimizer


def create_optimizer(settings: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """Create the optimiser over all parameters of ``model``, with the base learning rate."""
    parameters = model.parameters()
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    if settings.name == "muon":
        return Muon(
            list(parameters),
            settings.lr,
            momentum=settings.momentum,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)
