"""Exponential moving average of a network's weights (Polyak and Juditsky, 1992)."""

import copy

import torch
from torch import Tensor, nn


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
        averaged, current = _by_kind(self.module), _by_kind(model)
        torch._foreach_lerp_(averaged[True], current[True], 1 - keep)
        if averaged[False]:
            torch._foreach_copy_(averaged[False], current[False])


def _by_kind(model: nn.Module) -> dict[bool, list[Tensor]]:
    """Parameters and buffers by whether they are floating-point numbers; the others are counters."""
    kinds: dict[bool, list[Tensor]] = {True: [], False: []}
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            kinds[tensor.is_floating_point()].append(tensor)
    return kinds
