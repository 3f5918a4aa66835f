"""Max unpooling, as SegNet and ENet have it, by operators that every engine has and runs fast.

Where each maximum was is found by comparing, because TensorRT's pooling does not tell and OpenVINO's is slow at it;
unpooling scatters the values to these places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair


def max_pool_with_indices(
    x: Tensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=True
) -> tuple[Tensor, Tensor]:
    """``F.max_pool2d`` with indices; where several values are the maximum, the first of them counts, as in PyTorch."""
    if _pair(dilation) != (1, 1) or ceil_mode:
        raise NotImplementedError("expected pooling without dilation and ceil_mode")
    (size_y, size_x), (step_y, step_x), (pad_y, pad_x) = map(_pair, (kernel_size, stride or kernel_size, padding))
    maxima = F.max_pool2d(x, (size_y, size_x), (step_y, step_x), (pad_y, pad_x))
    height, width = (int(side) for side in x.shape[2:])
    rows, columns = (int(side) for side in maxima.shape[2:])
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y), value=float("-inf")) if pad_x or pad_y else x
    indices = None
    # From the last place of the window to the first, so that the first of equal ones stays.
    for i, j in reversed([(i, j) for i in range(size_y) for j in range(size_x)]):
        # Places in the padding are never taken; inside the image even so, an index cannot do harm.
        y = (torch.arange(rows, device=x.device) * step_y + i - pad_y).clamp(0, height - 1)
        here = y[:, None] * width + (torch.arange(columns, device=x.device) * step_x + j - pad_x).clamp(0, width - 1)
        values = padded[:, :, i : i + step_y * (rows - 1) + 1 : step_y, j : j + step_x * (columns - 1) + 1 : step_x]
        indices = here.expand_as(maxima) if indices is None else torch.where(values == maxima, here, indices)
    return maxima, indices


def max_unpool(x: Tensor, indices: Tensor, kernel_size, stride=None, padding=0, output_size=None) -> Tensor:
    """``F.max_unpool2d``; of several values for one place the last stays, as in PyTorch on a CPU."""
    channels, *sides = (int(side) for side in x.shape[1:])
    if output_size is None:
        windows = zip(sides, *map(_pair, (kernel_size, stride or kernel_size, padding)))
        output_size = [(side - 1) * step - 2 * pad + size for side, size, step, pad in windows]
    height, width = (int(side) for side in output_size[-2:])
    flat = x.new_zeros(x.shape[0], channels, height * width)
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).unflatten(2, (height, width))
