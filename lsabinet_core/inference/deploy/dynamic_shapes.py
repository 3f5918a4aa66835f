"""Adaptive pooling in basic operators for inputs of any size, for formats that lack such an operator.

Windows range from floor(i * n / out) to ceil((i + 1) * n / out) on each axis; both may be symbols of an export.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Sides = int | tuple[int, ...] | list[int]
"""Height and width of an adaptive pooling's result, or both in one."""


class DynamicShapes(TorchFunctionMode):
    """While active, networks on images (N, C, H, W) are computed with operators that work for every H and W."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.adaptive_max_pool2d and not kwargs.get("return_indices", False):
            return _adaptive_max(*args[:2])
        if func is F.adaptive_avg_pool2d:
            return _adaptive_mean(*args[:2])
        return func(*args, **kwargs)


def _pair(output_size: Sides) -> tuple[int, ...]:
    return tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size, output_size)


def _windows(size: int, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Start and exclusive end of each window, int64 (count,)."""
    cells = torch.arange(count, device=device)
    return cells * size // count, ((cells + 1) * size + count - 1) // count


def _adaptive_max(x: Tensor, output_size: Sides) -> Tensor:
    # The maximum is separable: pool one axis after the other.
    for axis, count in zip((2, 3), _pair(output_size)):
        size = x.shape[axis]
        start, stop = _windows(size, count, x.device)
        longest = (size + count - 1) // count + 1
        # All windows get the same length: shorter ones repeat their last position, which does not change the maximum.
        steps = torch.arange(longest, device=x.device)
        places = torch.minimum(start[:, None] + steps, stop[:, None] - 1)
        x = x.index_select(axis, places.flatten()).unflatten(axis, (count, longest)).amax(axis + 1)
    return x


def _adaptive_mean(x: Tensor, output_size: Sides) -> Tensor:
    rows, columns = (
        _mean_matrix(size, count, x.device).to(x.dtype) for size, count in zip(x.shape[2:], _pair(output_size))
    )
    return rows @ (x @ columns.transpose(0, 1))


def _mean_matrix(size: int, count: int, device: torch.device) -> Tensor:
    """(count, size): row i has 1 / length over its window."""
    start, stop = (places[:, None] for places in _windows(size, count, device))
    places = torch.arange(size, device=device)
    return ((places >= start) & (places < stop)).float() / (stop - start)
