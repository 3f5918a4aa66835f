"""A snapshot of a network's running statistics, taken before a training step."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class _Group:
    """Buffers of one dtype, and flat copies of their values before and after the step with one view per buffer."""

    buffers: list[Tensor]
    before: Tensor
    before_views: list[Tensor]
    after: Tensor
    after_views: list[Tensor]


class KeptBuffers:
    """A snapshot of a network's buffers, restored after a step with a non-finite loss or gradient.

    Memory is allocated once, and a handful of kernels copies all buffers.

    Args:
        network: on its final device; from now on its buffers may only change in place, as batch normalisation does.
    """

    def __init__(self, network: nn.Module):
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in network.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._groups = [_Group(buffers, *_room(buffers), *_room(buffers)) for buffers in by_type.values()]

    def keep(self) -> None:
        """Take a snapshot of the current values."""
        for group in self._groups:
            torch._foreach_copy_(group.before_views, group.buffers)

    def restore(self) -> None:
        """Restore the snapshot."""
        for group in self._groups:
            torch._foreach_copy_(group.buffers, group.before_views)

    def restore_where(self, wrong: Tensor) -> None:
        """Restore the snapshot if ``wrong``, a bool scalar on the device, is true, without synchronising with it."""
        for group in self._groups:
            torch._foreach_copy_(group.after_views, group.buffers)
            torch.where(wrong, group.before, group.after, out=group.after)
            torch._foreach_copy_(group.buffers, group.after_views)


def _room(buffers: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Flat memory for all buffers, and views of it in their shapes."""
    sizes = [buffer.numel() for buffer in buffers]
    flat = torch.empty(sum(sizes), dtype=buffers[0].dtype, device=buffers[0].device)
    return flat, [part.view(buffer.shape) for part, buffer in zip(flat.split(sizes), buffers)]
