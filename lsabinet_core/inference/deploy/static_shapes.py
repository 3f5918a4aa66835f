"""Replaces size-dependent operators by basic ones for one size, for engines and formats that lack them.

Adaptive pooling has windows from floor(i * n / out) to ceil((i + 1) * n / out) on each axis, of unequal lengths if
``out`` does not divide ``n``. Maximum and mean are separable, so one axis is pooled after the other. Channels, heights
and widths are constants in a trace; only the number of images stays dynamic.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .unpool import max_pool_with_indices, max_unpool

Sides = int | tuple[int | None, ...] | list[int | None]
"""Height and width of an adaptive pooling's result, or both in one; None leaves a side as it is."""

_SHAPE = inspect.getattr_static(Tensor, "shape").__get__


class StaticShapes(TorchFunctionMode):
    """While active, networks on images (N, C, H, W) are computed with operators that are fixed for C, H and W."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.adaptive_max_pool2d and not kwargs.get("return_indices", False):
            return _adaptive_max(*args[:2])
        if func is F.adaptive_avg_pool2d:
            return _adaptive_mean(*args[:2])
        if func is F.max_pool2d_with_indices:
            return max_pool_with_indices(*args, **kwargs)
        if func is F.max_unpool2d:
            return max_unpool(*args, **kwargs)
        if torch.jit.is_tracing() and (func == _SHAPE or func is Tensor.size):
            return _shape(*args, **kwargs)
        return func(*args, **kwargs)


def _shape(x: Tensor, dim: int | None = None) -> Any:
    """``x.shape`` or ``x.size(dim)`` with constants: in a trace these are tensors, and only the batch may stay one."""
    shape = tuple(side if axis == 0 else int(side) for axis, side in enumerate(x.shape))
    return shape if dim is None else shape[dim]


def _sizes(x: Tensor, output_size: Sides) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) of x and of the result as numbers, even if they are tensors in a trace."""
    height, width = (int(side) for side in x.shape[-2:])
    rows, columns = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    return (height, width), (height if rows is None else int(rows), width if columns is None else int(columns))


def _windows(size: int, count: int) -> list[range]:
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _adaptive_max(x: Tensor, output_size: Sides) -> Tensor:
    sizes, counts = _sizes(x, output_size)
    if all(size % count == 0 for size, count in zip(sizes, counts)):
        return F.max_pool2d(x, tuple(size // count for size, count in zip(sizes, counts)))
    for axis, size, count in zip((2, 3), sizes, counts):
        windows = _windows(size, count)
        longest = max(map(len, windows))
        if count * longest != size:
            # Shorter windows repeat their last position, which does not change the maximum.
            places = [min(window.start + step, window.stop - 1) for window in windows for step in range(longest)]
            x = x.index_select(axis, torch.tensor(places, device=x.device))
        x = F.max_pool2d(x, (longest, 1) if axis == 2 else (1, longest))
    return x


def _adaptive_mean(x: Tensor, output_size: Sides) -> Tensor:
    sizes, counts = _sizes(x, output_size)
    if all(size % count == 0 for size, count in zip(sizes, counts)):
        return F.avg_pool2d(x, tuple(size // count for size, count in zip(sizes, counts)))
    rows, columns = (_mean_matrix(size, count).to(x) for size, count in zip(sizes, counts))
    # Scale planes, not channels: OpenVINO 2026.4 fails when it merges a scale per channel into the matrix product.
    planes = x.flatten(0, 1)
    return (rows @ (planes @ columns.T)).unflatten(0, (-1, int(x.shape[1])))


def _mean_matrix(size: int, count: int) -> Tensor:
    """(count, size): row i has 1 / length over its window."""
    windows = _windows(size, count)
    return torch.tensor([[(place in window) / len(window) for place in range(size)] for window in windows])
