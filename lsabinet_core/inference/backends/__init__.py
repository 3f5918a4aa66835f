"""Engines that run the network.

A backend takes the normalised batch that ``Preprocessor`` makes and gives the logits that ``masks_from_logits`` takes,
both torch tensors on its device (on the CPU they share memory with numpy arrays, so that other engines need no copy).
"""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import torch
from torch import nn

from lsabinet_core.errors import BackendError


class Backend(Protocol):
    """What the Segmenter needs of an engine.

    Attributes:
        name: as in ``list_backends()``.
        device: where ``infer`` takes its input and leaves its output.
        precision: what it computes in: ``fp32``, ``fp16`` or ``bf16``.
    """

    name: str
    device: torch.device
    precision: str

    def load(self, model: nn.Module) -> None:
        """Take the network in; the caller's module is left as it is."""

    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (N, C, h, w) before the final upsampling, from a normalised RGB batch float32 (N, 3, H, W)."""

    def synchronize(self) -> None:
        """Wait until the device has done everything asked so far, so that a clock reads right."""

    def describe(self) -> dict[str, str]:
        """Engine, version, device and precision, for reports."""

    def close(self) -> None:
        """Give back what ``load`` took."""


# name -> (module, class); the module is imported only when its backend is asked for.
_BACKENDS = {
    "torch": ("lsabinet_core.inference.backends.torch_", "TorchBackend"),
}


def list_backends() -> list[str]:
    """Names that ``create_backend`` takes."""
    return sorted(_BACKENDS)


def create_backend(name: str, *, device: str = "auto", precision: str = "auto") -> Backend:
    """Make an engine by name, with nothing loaded yet.

    Raises:
        BackendError: unknown name, or a device or precision that it does not offer here.
    """
    if name not in _BACKENDS:
        raise BackendError(f"expected backend to be one of {', '.join(list_backends())}, got {name!r}")
    module, attribute = _BACKENDS[name]
    factory: Callable[..., Backend] = getattr(import_module(module), attribute)
    return factory(device=device, precision=precision)
