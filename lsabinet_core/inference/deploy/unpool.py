"""Max unpooling, as in SegNet and ENet, with operators that every engine supports and runs fast.

The position of each maximum is found by comparison, because TensorRT's pooling does not return it and OpenVINO's is
slow at it; unpooling scatters the values to these positions.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair

Sides = int | tuple[int, int]
"""Height and width, or both in one."""


def max_pool_with_indices(
    x: Tensor,
    kernel_size: Sides,
    stride: Sides | None = None,
    padding: Sides = 0,
    dilation: Sides = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> tuple[Tensor, Tensor]:
    """``F.max_pool2d`` with indices; among equal maxima the first one counts, as in PyTorch."""
    if _pair(dilation) != (1, 1) or ceil_mode:
        raise NotImplementedError("expected pooling without dilation and ceil_mode")
    (size_y, size_x), (step_y, step_x), (pad_y, pad_x) = map(_pair, (kernel_size, stride or kernel_size, padding))
    maxima = F.max_pool2d(x, (size_y, size_x), (step_y, step_x), (pad_y, pad_x))
    height, width = (int(side) for side in x.shape[2:])
    rows, columns = (int(side) for side in maxima.shape[2:])
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y), value=float("-inf")) if pad_x or pad_y else x
    indices = None
    # From the last position of the window to the first, so that the first of equal values is kept.
    for i, j in reversed([(i, j) for i in range(size_y) for j in range(size_x)]):
        # Positions in the padding never win; they are clamped so that their index stays inside the image.
        y = (torch.arange(rows, device=x.device) * step_y + i - pad_y).clamp(0, height - 1)
        here = y[:, None] * width + (torch.arange(columns, device=x.device) * step_x + j - pad_x).clamp(0, width - 1)
        values = padded[:, :, i : i + step_y * (rows - 1) + 1 : step_y, j : j + step_x * (columns - 1) + 1 : step_x]
        indices = here.expand_as(maxima) if indices is None else torch.where(values == maxima, here, indices)
    assert indices is not None, "a window has at least one position"
    return maxima, indices


def max_unpool(
    x: Tensor,
    indices: Tensor,
    kernel_size: Sides,
    stride: Sides | None = None,
    padding: Sides = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """``F.max_unpool2d``; if several values have the same position the last one stays, as in PyTorch on a CPU."""
    channels, *sides = (int(side) for side in x.shape[1:])
    if output_size is None:
        windows = zip(sides, *map(_pair, (kernel_size, stride or kernel_size, padding)))
        output_size = [(side - 1) * step - 2 * pad + size for side, size, step, pad in windows]
    height, width = (int(side) for side in output_size[-2:])
    flat = x.new_zeros(x.shape[0], channels, height * width)
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, (height, width))
