"""Exponential moving average of a network's weights (Polyak and Juditsky, 1992)."""

import copy

import torch
from torch import nn


class WeightAverage(nn.Module):
    """Holds the average of ``model`` as ``module``, whose parameters and batch statistics both follow it.

    Args:
        model: starts as the average.
        decay: share of the average that one update keeps. The first updates keep less, (1 + n) / (10 + n) at the n-th,
            or the average would remember the random start for 1 / (1 - decay) steps.
    """

    def __init__(self, model: nn.Module, decay: float):
        super().__init__()
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards ``model``."""
        updates = int(self.updates)
        keep = min(self.decay, (1 + updates) / (10 + updates))
        self.updates += 1
        averaged, current = [], []
        for mine, theirs in zip(self.module.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                averaged.append(mine)
                current.append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averaged, current, 1 - keep)
