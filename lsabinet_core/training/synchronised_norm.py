"""Batch normalisation with statistics over all processes.

Uses torch's ``SyncBatchNorm`` on GPUs; it does not support CPUs, for which this module has its own implementation.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Replace every BatchNorm2d within ``module``, keeping parameters, buffers and their names."""
    for name, child in module.named_children():
        if type(child) is not nn.BatchNorm2d:
            synchronise_batch_norm(child, device)
        elif device.type == "cuda":
            setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            setattr(module, name, SynchronisedBatchNorm2d.of(child))


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are computed over the (N, C, H, W) inputs of all processes."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "SynchronisedBatchNorm2d":
        """Create the layer from ``norm``, sharing its parameters and buffers."""
        result = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        result._parameters.update(norm._parameters)
        result._buffers.update(norm._buffers)
        return result.train(norm.training)

    # The compiler cannot trace communication between processes. The decorator also hides the method's type.
    @torch.compiler.disable
    def forward(self, input: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        result, mean, variance, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._follow(mean, variance * count / (count - 1).clamp(min=1))
        return result

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.num_batches_tracked is not None, "the layer tracks running statistics"
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), share)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias; also mean, biased variance and count over all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Half precision is too coarse for the sums.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, (0, 2, 3), correction=0)
        # float64, because the variance is a small difference of two large squares.
        variance, mean = variance.double(), mean.double()
        count = torch.full((1,), x.numel() / x.shape[1], dtype=torch.float64, device=x.device)
        sums = torch.cat([mean * count, (variance + mean**2) * count, count])
        dist.all_reduce(sums)
        channels = x.shape[1]
        count = sums[-1:]
        mean = sums[:channels] / count
        variance = (sums[channels:-1] / count - mean**2).clamp(min=0)
        scale = (variance + eps).rsqrt()
        normalised = (wide - _per_channel(mean, wide)) * _per_channel(scale, wide)
        ctx.save_for_backward(normalised, scale, count, weight)
        ctx.dtype = x.dtype
        result = normalised
        if weight is not None and bias is not None:
            result = result * _per_channel(weight, wide) + _per_channel(bias, wide)
        ctx.mark_non_differentiable(mean, variance, count)
        return result.to(x.dtype), mean, variance, count

    @staticmethod
    # The first output alone has a gradient; the base class allows any number.
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        normalised, scale, count, weight = ctx.saved_tensors
        gradient = gradient.to(normalised.dtype)
        to_bias = gradient.sum((0, 2, 3))
        to_weight = (gradient * normalised).sum((0, 2, 3))
        means = torch.cat([to_bias, to_weight]).double()
        dist.all_reduce(means)
        mean, mean_with_x = (means / count).chunk(2)
        inner = gradient - _per_channel(mean, gradient) - normalised * _per_channel(mean_with_x, gradient)
        to_x = inner * _per_channel(scale if weight is None else scale * weight, gradient)
        # Gradients of the parameters stay local; DistributedDataParallel sums them over the processes.
        own_weight, own_bias = (None, None) if weight is None else (to_weight, to_bias)
        return to_x.to(ctx.dtype), own_weight, own_bias, None


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, 1) in the dtype of ``like``."""
    return values.to(like.dtype)[:, None, None]
