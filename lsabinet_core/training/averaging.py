"""Exponential moving average of a network's weights (Polyak and Juditsky, 1992)."""

import copy

import torch
from torch import Tensor, nn

from lsabinet_core.models.blocks import SegmentationNetwork


class WeightAverage(nn.Module):
    """Keeps the moving average of ``model`` in ``module``: parameters and batch-norm statistics.

    Args:
        model: initial value of the average.
        decay: share of the average that one update keeps. The n-th update keeps at most (1 + n) / (10 + n), because
            otherwise the average would remember the random initialisation for 1 / (1 - decay) steps.
    """

    module: SegmentationNetwork
    updates: Tensor

    def __init__(self, model: SegmentationNetwork, decay: float):
        super().__init__()
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay
        device = next(model.parameters()).device
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64, device=device))
        # Wrapped in a tuple because nn.Module would register a module attribute as a submodule.
        self._followed: tuple[nn.Module, dict[bool, list[Tensor]], dict[bool, list[Tensor]]] | None = None

    @torch.no_grad()
    def update(self, model: nn.Module, learned: Tensor | None = None) -> None:
        """Move the average towards ``model``.

        Args:
            model: updated in place since the last call; its tensors are looked up only once.
            learned: bool, a scalar on the model's device: False if the step was skipped; the average then stays.
        """
        if learned is None:
            learned = torch.ones_like(self.updates, dtype=torch.bool)
        # Computed as tensors, which avoids a device synchronisation.
        updates = self.updates.double()
        keep = ((1 + updates) / (10 + updates)).clamp(max=self.decay)
        move = ((1 - keep) * learned).float()
        self.updates += learned
        if self._followed is None or self._followed[0] is not model:
            # Cached: walking through two networks takes as long as a fifth of a training step on a GPU.
            self._followed = model, _by_kind(self.module), _by_kind(model)
        _, averaged, current = self._followed
        steps = torch._foreach_sub(current[True], averaged[True])
        torch._foreach_mul_(steps, move)
        torch._foreach_add_(averaged[True], steps)
        if averaged[False]:
            torch._foreach_copy_(averaged[False], current[False])


def _by_kind(model: nn.Module) -> dict[bool, list[Tensor]]:
    """Parameters and buffers, grouped by whether they are floating-point; the others are counters."""
    kinds: dict[bool, list[Tensor]] = {True: [], False: []}
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            kinds[tensor.is_floating_point()].append(tensor)
    return kinds
