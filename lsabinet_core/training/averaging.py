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
        device = next(model.parameters()).device
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64, device=device))
        # In a tuple, for a module of its own is what a module's attribute would become.
        self._followed: tuple[nn.Module, dict[bool, list[Tensor]], dict[bool, list[Tensor]]] | None = None

    @torch.no_grad()
    def update(self, model: nn.Module, learned: Tensor | None = None) -> None:
        """Move towards ``model``.

        Args:
            model: has learned since the last update, in place: its tensors are looked up once.
            learned: bool, a scalar on the model's device: False where it has not, and the average stays.
        """
        if learned is None:
            learned = torch.ones_like(self.updates, dtype=torch.bool)
        # In tensors, so that nobody waits for the device.
        updates = self.updates.double()
        keep = ((1 + updates) / (10 + updates)).clamp(max=self.decay)
        move = ((1 - keep) * learned).float()
        self.updates += learned
        if self._followed is None or self._followed[0] is not model:
            # Once: to walk through two networks takes as long as a fifth of a step on a GPU.
            self._followed = model, _by_kind(self.module), _by_kind(model)
        _, averaged, current = self._followed
        steps = torch._foreach_sub(current[True], averaged[True])
        torch._foreach_mul_(steps, move)
        torch._foreach_add_(averaged[True], steps)
        if averaged[False]:
            torch._foreach_copy_(averaged[False], current[False])


def _by_kind(model: nn.Module) -> dict[bool, list[Tensor]]:
    """Parameters and buffers by whether they are floating-point numbers; the others are counters."""
    kinds: dict[bool, list[Tensor]] = {True: [], False: []}
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            kinds[tensor.is_floating_point()].append(tensor)
    return kinds
