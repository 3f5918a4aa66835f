"""Layers shared by several networks.

Batch normalisation uses eps 1e-3, and PReLU has one slope per channel.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.errors import ModelError

from .limits import SMALLEST_INPUT

Module = TypeVar("Module", bound=nn.Module)

BN_EPS = 1e-3


def check_input(image: Tensor) -> None:
    """Raise ModelError unless ``image`` is (N, 3, H, W) with H and W of at least 64."""
    if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[2:]) < SMALLEST_INPUT:
        raise ModelError(
            f"expected images of shape (N, 3, H, W) with H and W of at least {SMALLEST_INPUT}, got "
            f"{tuple(image.shape)}: resize or pad them"
        )


class SegmentationNetwork(nn.Module):
    """Images (N, 3, H, W), float, normalised, H and W of at least 64 -> logits (N, num_classes, H, W).

    Subclasses implement ``logits_and_features``.

    Attributes:
        paper: authors, name, venue and year of the publication.
        year: year of the publication.
        auxiliary_channels: channel counts of the intermediate features for auxiliary heads; empty by default.
    """

    paper: str
    year: int
    auxiliary_channels: tuple[int, ...] = ()

    def logits_and_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return logits (N, num_classes, h, w) before the last upsampling, and the features for auxiliary heads."""
        raise NotImplementedError

    def with_features(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return ``low_resolution_logits`` and the intermediate features for auxiliary heads, (N, C, h, w) each."""
        check_input(image)
        return self.logits_and_features(image)

    def low_resolution_logits(self, image: Tensor) -> Tensor:
        """Return the logits before the last bilinear upsampling, at the last size of the file's layout, rounded up."""
        return self.with_features(image)[0]

    def forward(self, image: Tensor) -> Tensor:
        logits, size = self.low_resolution_logits(image), image.shape[-2:]
        return logits if logits.shape[-2:] == size else resize_bilinear(logits, size)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Create a batch normalisation layer with eps 1e-3."""
    return nn.BatchNorm2d(channels, eps=BN_EPS)


class BNReLU(nn.Sequential):
    """Batch normalisation, then ReLU: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__(batch_norm(channels), nn.ReLU())


class BNPReLU(nn.Sequential):
    """Batch normalisation, then PReLU: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int):
        super().__init__(batch_norm(channels), nn.PReLU(channels))


class ConvNorm(nn.Sequential):
    """Convolution that keeps H and W (divided by the stride, rounded up), then ``norm(out_channels)``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        norm: Callable[[int], nn.Module],
        stride: int = 1,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
    ):
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        dilation_y, dilation_x = (dilation, dilation) if isinstance(dilation, int) else dilation
        padding = (dilation_y * (height // 2), dilation_x * (width // 2))
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            stride=stride,
            padding=padding,
            dilation=(dilation_y, dilation_x),
            groups=groups,
            bias=bias,
        )
        super().__init__(conv, norm(out_channels))


class ConvBNPReLU(ConvNorm):
    """Convolution without bias, then BNPReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, int] = 3, **options: Any):
        super().__init__(in_channels, out_channels, kernel_size, norm=BNPReLU, **options)


class Stem(nn.Sequential):
    """Three 3x3 convolutions to 32 channels, the first of stride 2: (N, 3, H, W) -> (N, 32, H/2, W/2), rounded up."""

    def __init__(self, norm: Callable[[int], nn.Module] = BNPReLU):
        super().__init__(
            ConvNorm(3, 32, norm=norm, stride=2),
            ConvNorm(32, 32, norm=norm),
            ConvNorm(32, 32, norm=norm),
        )


class DownsamplerBlock(nn.Module):
    """Halves H and W (rounding up): strided convolution parallel to max pooling, then ``norm(out_channels)``.

    If the number of channels does not grow, there is no pooling branch and the convolution computes all channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Callable[[int], nn.Module] = BNReLU,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.pooled = in_channels < out_channels
        conv_channels = out_channels - in_channels if self.pooled else out_channels
        self.conv = nn.Conv2d(in_channels, conv_channels, 3, stride=2, padding=1, bias=bias)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.pooled:
            # ceil_mode: an odd size gives the same rounded-up size as the padded strided convolution.
            y = torch.cat([y, F.max_pool2d(x, 2, ceil_mode=True)], 1)
        return self.norm(y)


def without_autocast(x: Tensor) -> contextlib.AbstractContextManager:
    """Return a context that disables autocast on the device of ``x``, for sums that overflow in half precision."""
    # The meta device does not support autocast.
    known = torch.amp.is_autocast_available(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if known else contextlib.nullcontext()


def move(module: Module, device: torch.device, memory_format: torch.memory_format = torch.channels_last) -> Module:
    """Move a module to a device and a memory layout, in place; returns it."""
    # PyTorch's annotations of ``Module.to`` leave out ``memory_format``.
    return module.to(device=device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]


def resize_bilinear(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Resize (N, C, h, w) bilinearly to (N, C, *size), with aligned pixel centres (align_corners=False), as OpenCV."""
    if torch.compiler.is_compiling() and torch.is_grad_enabled():
        return _ResizeBilinear.apply(x, size)
    return _enlarge(x, size)


def _enlarge(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class _ResizeBilinear(torch.autograd.Function):
    """Bilinear resize with ATen's backward kernel.

    A compiled step would otherwise decompose the backward pass into scatter-adds, which torch 2.13 may move on a CPU
    after the read of their result, giving a gradient of zeros.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
        ctx.shape, ctx.dtype = x.shape, x.dtype
        return _enlarge(x, size)

    @staticmethod
    # One output has one gradient; the base class allows any number.
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = gradient.shape[-2:]
        # In fp32, as under autocast, which a compiled step bypasses: a GPU adds up to 170 terms per pixel atomically,
        # which is less accurate and several times slower in half precision.
        coarse = torch.ops.aten.upsample_bilinear2d_backward(gradient.float(), size, ctx.shape, False)
        return coarse.to(ctx.dtype), None


def image_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """Return the image average-pooled to 1/2, 1/4, ..., with sizes rounded up as by a strided convolution."""
    pyramid = []
    for _ in range(levels):
        image = F.avg_pool2d(image, 3, stride=2, padding=1)
        pyramid.append(image)
    return pyramid


def initialise(model: nn.Module) -> None:
    """Initialise convolutions with Kaiming (fan in, ReLU gain), biases with 0, batch normalisation with identity.

    Parameters on the meta device have no values: PyTorch would need half the time of building the network for nothing.
    """
    for module in model.modules():
        if next((parameter.is_meta for parameter in module.parameters(recurse=False)), True):
            continue
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
