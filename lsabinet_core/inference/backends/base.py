"""The interface of an engine; its defaults describe one that runs every shape without building anything."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.network import Network

from .choose import device_name
from .shapes import Shape, Shapes, Size

CLOSED = "expected a loaded network, got none: the backend is closed"


class NotExportedError(BackendError):
    """The engine needs a converted model for this size, which only ``lsabinet export`` creates."""


class Backend(ABC):
    """An engine that runs one network.

    A subclass defines ``name``, ``load``, ``infer`` and ``close``, and accepts ``device``, ``precision`` and
    ``threads`` like ``create_backend``. An engine that is built for each input shape derives from ``ShapedBackend``
    instead, which needs only ``load`` and a way to build one shape.

    A shape is (N, H, W) of the images that go through the network in one call, a size is (H, W).

    Attributes:
        name: as in ``list_backends()``.
        device: device of the output of ``infer``.
        precision: precision of the computation: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        builds_itself: whether ``prepare`` builds a missing engine; otherwise only ``lsabinet export`` can.
    """

    name: str
    device: torch.device
    precision: str
    builds_itself = True

    def __init__(self, device: torch.device, precision: str):
        self.device = device
        self.precision = precision
        self._shapes = Shapes()

    @property
    def shapes(self) -> Shapes:
        """The record of the shapes that this engine is ready for."""
        return self._shapes

    @abstractmethod
    def load(self, source: Network | Artefact) -> None:
        """Load a network, which is not modified.

        Raises:
            BackendError: the engine does not run the format, size or precision of an exported model.
        """

    @abstractmethod
    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Logits (N, C, h, w) before the final upsampling, from uint8 (N, H, W, 3), BGR, C-contiguous and writeable.

        The images are an array, or a tensor on ``device`` if that is a GPU; they are not modified. At most
        ``batch_for`` images go through the network at a time. The next call may overwrite the result, and a GPU may
        still be computing it.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what ``load`` allocated; may be called repeatedly."""

    # Readiness for a shape.

    def prepare(self, size: Size, batch: int = 1) -> None:  # noqa: B027 most direct subclasses build nothing
        """Build the engine for ``batch`` images of ``size``, so that the first ones do not wait for it.

        Raises:
            BackendError: the engine cannot be built.
        """

    def prepare_later(self, size: Size, batch: int = 1) -> None:
        """Like ``prepare``, but slow builds run in the background while PyTorch runs these images."""
        self.prepare(size, batch)

    def builds_quickly(self, size: Size) -> bool:
        """Whether ``prepare`` takes a few seconds at most, because building is fast or the result is cached."""
        return True

    def is_built(self, shape: Shape) -> bool:
        """Whether images of that shape can run at once, without a build that delays frames."""
        return True

    def holds(self, shape: Shape) -> bool:
        """Whether images of that shape were prepared, even if their build is still running in the background."""
        return True

    def is_warm(self, shape: Shape) -> bool:
        """Whether that shape was warmed up, and the engine still holds what it built."""
        return self.shapes.is_warm(shape) and self.holds(shape)

    def batch_for(self, shape: Shape) -> int:
        """Maximum number of images of that shape that go through the network at a time."""
        return self.shapes.limit(shape)

    def check_size(self, size: Size) -> None:  # noqa: B027 most engines run every size
        """Raise BackendError with a remedy if nothing can be built for images of that size."""

    def exported_sizes(self) -> list[Size]:
        """The sizes for which ``lsabinet export`` made engines, if the engine depends on it; otherwise empty."""
        return []

    # PyTorch in place of the engine.

    def infer_plain(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Like ``infer``, with PyTorch; in fp32 if PyTorch does not support the engine's precision on this device."""
        return self.infer(images)

    @property
    def ran_plain(self) -> bool:
        """Whether PyTorch has run images in place of the engine since ``load``."""
        return False

    # Reports.

    def network_alone(self, shape: Shape) -> Callable[[], object] | None:
        """A call for timing that runs the network again on images of that shape that are already on the device; None
        if the engine does not support this."""
        return None

    def synchronize(self) -> None:
        """Wait until the device has finished all submitted work, so that a clock can be read."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> dict[str, str]:
        """Engine, version, device and precision, for reports."""
        return {
            "backend": self.name,
            "engine": self._engine(),
            "device": str(self.device),
            "device_name": device_name(self.device),
            "precision": self.precision,
        }

    def _engine(self) -> str:
        """Name and version of the library."""
        return f"PyTorch {torch.__version__}"


def in_parts(
    images: np.ndarray | torch.Tensor,
    batch: int,
    infer: Callable[[np.ndarray | torch.Tensor], torch.Tensor],
    *,
    filled: bool = False,
) -> torch.Tensor:
    """Return the logits of all images, passing ``batch`` of them at a time to ``infer``.

    Args:
        images: uint8 (N, H, W, 3).
        batch: how many at a time.
        infer: its result may be overwritten by its next call.
        filled: repeat the last image to fill the last part, for engines that take exactly ``batch`` images.
    """
    count = len(images)
    if count == batch or (count < batch and not filled):
        return infer(images)
    parts = []
    for start in range(0, count, batch):
        part = images[start : start + batch]
        given = part
        if filled and len(part) < batch:
            given = part[np.minimum(np.arange(batch), len(part) - 1)]
        parts.append(infer(given)[: len(part)].clone())
    return torch.cat(parts)
