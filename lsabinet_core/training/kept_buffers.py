"""The running statistics of a network as they were before a step."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class _Group:
    """Buffers of one type, and their values in one piece: before the step and after it, each with a view per buffer."""

    buffers: list[Tensor]
    before: Tensor
    before_views: list[Tensor]
    after: Tensor
    after_views: list[Tensor]


class KeptBuffers:
    """A copy of a network's buffers, to go back to after a step that was not finite.

    The memory is taken once, and the device is given a handful of kernels for all of the buffers.

    Args:
        network: where it computes; its buffers are changed in place from now on, as batch normalisation does.
    """

    def __init__(self, network: nn.Module):
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in network.buffers():
            by_type.setdefault(buffer.dtype, []).append(buffer)
        self._groups = [_Group(buffers, *_room(buffers), *_room(buffers)) for buffers in by_type.values()]

    def keep(self) -> None:
        """Take their values as they are now."""
        for group in self._groups:
            torch._foreach_copy_(group.before_views, group.buffers)

    def restore(self) -> None:
        """Go back to the values that were kept."""
        for group in self._groups:
            torch._foreach_copy_(group.buffers, group.before_views)

    def restore_where(self, wrong: Tensor) -> None:
        """Go back where ``wrong``, a bool scalar on the device, says so, without waiting to know."""
        for group in self._groups:
            torch._foreach_copy_(group.after_views, group.buffers)
            torch.where(wrong, group.before, group.after, out=group.after)
            torch._foreach_copy_(group.buffers, group.after_views)


def _room(buffers: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Memory for all of the buffers, and its parts in their shapes."""
    sizes = [buffer.numel() for buffer in buffers]
    flat = torch.empty(sum(sizes), dtype=buffers[0].dtype, device=buffers[0].device)
    return flat, [part.view(buffer.shape) for part, buffer in zip(flat.split(sizes), buffers)]
