"""Folds batch normalisation in evaluation mode, a multiply-add with constants, into the preceding convolution.

The convolution before each normalisation is observed in a run rather than guessed from the order of the modules, so
that this works for any network.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.limits import SMALLEST_INPUT

Convolution = nn.Conv2d | nn.ConvTranspose2d


class Affine(nn.Module):
    """scale * x + shift with one scale and shift per channel: (N, C, H, W) -> the same shape."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor):
        super().__init__()
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


def fold_batch_norms(model: SegmentationNetwork) -> SegmentationNetwork:
    """Copy the network in evaluation mode without batch normalisation and dropout; the outputs do not change.

    A normalisation is folded into the preceding convolution if nothing else uses that convolution's output, and becomes
    an ``Affine`` otherwise. Normalisations without running statistics depend on the image and are kept.
    """
    model = copy.deepcopy(model).eval()
    replacements: dict[nn.Module, nn.Module] = {}
    for norm, conv in _convolutions_before_norms(model).items():
        _merge(conv, norm)
        replacements[norm] = nn.Identity()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats and module not in replacements:
            scale, shift = _scale_and_shift(module)
            dtype = next(module.buffers()).dtype
            replacements[module] = Affine(scale.to(dtype), shift.to(dtype))
        elif isinstance(module, (nn.Dropout, nn.Dropout2d)):
            replacements[module] = nn.Identity()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child in replacements:
                setattr(parent, name, replacements[child])
    return model


class _CountUses(TorchFunctionMode):
    """Counts the calls that use each tensor."""

    def __init__(self):
        super().__init__()
        self.uses: Counter[int] = Counter()
        # Keeps the tensors alive, so that ids stay unique during the run.
        self._seen: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # Calls that return no tensor, such as .shape or .dim(), do not use the values.
        if isinstance(result, (Tensor, tuple, list)) and not isinstance(result, torch.Size):
            self._count([*args, *kwargs.values()])
        return result

    def _count(self, values: Iterable[object]) -> None:
        for value in values:
            if isinstance(value, Tensor):
                self.uses[id(value)] += 1
                self._seen.append(value)
            elif isinstance(value, (list, tuple)):
                self._count(value)


@torch.no_grad()
def _convolutions_before_norms(model: SegmentationNetwork) -> dict[nn.BatchNorm2d, Convolution]:
    """Each batch normalisation that can be folded, with the convolution whose output it normalises."""
    outputs: dict[int, tuple[Convolution, Tensor]] = {}
    inputs: list[tuple[nn.BatchNorm2d, Tensor]] = []
    calls: Counter[nn.Module] = Counter()

    def after_conv(module: Convolution, args: tuple, output: Tensor) -> None:
        calls[module] += 1
        outputs[id(output)] = (module, output)

    def before_norm(module: nn.BatchNorm2d, args: tuple) -> None:
        calls[module] += 1
        inputs.append((module, args[0]))

    hooks = []
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            hooks.append(module.register_forward_hook(after_conv))
        elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before_norm))
    like = next(model.parameters())
    try:
        with _CountUses() as counter:
            model.low_resolution_logits(like.new_zeros(1, 3, SMALLEST_INPUT, SMALLEST_INPUT))
    finally:
        for hook in hooks:
            hook.remove()

    found = {}
    for norm, tensor in inputs:
        conv, _ = outputs.get(id(tensor), (None, None))
        alone = conv is not None and counter.uses[id(tensor)] == 1 and calls[conv] == calls[norm] == 1
        # Grouped transposed convolutions have their output channels on two axes; none of the networks needs them.
        if alone and not (isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1):
            found[norm] = conv
    return found


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """float64 (C,) each: norm(x) = scale * x + shift."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None, "only norms with running statistics are folded"
    assert variance is not None
    scale = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().double()


def _merge(conv: Convolution, norm: nn.BatchNorm2d) -> None:
    scale, shift = _scale_and_shift(norm)
    weight = conv.weight.detach()
    along_outputs = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    if conv.bias is not None:
        shift = shift + scale * conv.bias.detach().double()
    conv.weight = nn.Parameter((weight.double() * scale.view(along_outputs)).to(weight.dtype))
    conv.bias = nn.Parameter(shift.to(weight.dtype))
