"""Adaptive pooling spelled out for one size.

Its windows run from floor(i * n / out) to ceil((i + 1) * n / out) along each axis, of unequal lengths where ``out``
does not divide ``n``. Neither ONNX nor all engines know it. Maximum and mean are separable, so one axis follows the
other.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class StaticPooling(TorchFunctionMode):
    """While active, adaptive poolings of (N, C, H, W) are computed by operators with fixed windows."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.adaptive_max_pool2d and not kwargs.get("return_indices", False):
            return _adaptive_max(*args[:2])
        if func is F.adaptive_avg_pool2d:
            return _adaptive_mean(*args[:2])
        return func(*args, **kwargs)


def _sizes(x: Tensor, output_size) -> tuple[tuple[int, int], tuple[int, int]]:
    """(H, W) of x and of the result, as numbers even where a trace has tensors for them."""
    height, width = (int(side) for side in x.shape[-2:])
    if not isinstance(output_size, (tuple, list)):
        output_size = (output_size, output_size)
    return (height, width), tuple(
        side if wanted is None else int(wanted) for side, wanted in zip((height, width), output_size, strict=True)
    )


def _windows(size: int, count: int) -> list[range]:
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _adaptive_max(x: Tensor, output_size) -> Tensor:
    sizes, counts = _sizes(x, output_size)
    if all(size % count == 0 for size, count in zip(sizes, counts)):
        return F.max_pool2d(x, tuple(size // count for size, count in zip(sizes, counts)))
    for axis, size, count in zip((2, 3), sizes, counts):
        windows = _windows(size, count)
        longest = max(map(len, windows))
        if count * longest != size:
            # Shorter windows repeat their last place, which no maximum minds; then all have one length.
            places = [min(window.start + step, window.stop - 1) for window in windows for step in range(longest)]
            x = x.index_select(axis, torch.tensor(places, device=x.device))
        x = F.max_pool2d(x, (longest, 1) if axis == 2 else (1, longest))
    return x


def _adaptive_mean(x: Tensor, output_size) -> Tensor:
    sizes, counts = _sizes(x, output_size)
    if all(size % count == 0 for size, count in zip(sizes, counts)):
        return F.avg_pool2d(x, tuple(size // count for size, count in zip(sizes, counts)))
    rows, columns = (_mean_matrix(size, count).to(x) for size, count in zip(sizes, counts))
    return rows @ (x @ columns.T)


def _mean_matrix(size: int, count: int) -> Tensor:
    """(count, size): row i has 1 / length over its window."""
    matrix = torch.zeros(count, size)
    for row, window in zip(matrix, _windows(size, count)):
        row[window.start : window.stop] = 1 / len(window)
    return matrix
