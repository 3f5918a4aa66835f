"""Engines that run the network.

A backend takes frames as they are, uint8, and gives the logits that ``masks_from_logits`` takes; normalisation is part
of the network that it runs (``lsabinet_core.inference.deploy``).
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from lsabinet_core.cores import at_most_cores
from lsabinet_core.errors import BackendError

if TYPE_CHECKING:
    # The names below are also for those who do not want to wait for PyTorch: parsers, the node before it is configured.
    import numpy as np
    import torch

    from lsabinet_core.inference.artefact import Artefact
    from lsabinet_core.inference.network import Network

DEFAULT_BACKEND = "auto"
"""Wherever the user names no engine. What has to be the plain reference names ``torch``."""


class Backend(Protocol):
    """What the Segmenter needs of an engine.

    Attributes:
        name: as in ``list_backends()``.
        device: where ``infer`` leaves its output.
        precision: what it computes in: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
    """

    name: str
    device: "torch.device"
    precision: str

    def load(self, source: "Network | Artefact") -> None:
        """Take a network in; the caller's is left as it is.

        Raises:
            BackendError: an exported network of a format, size or precision that this engine does not run.
        """

    def prepare(self, size: tuple[int, int], batch: int = 1) -> None:
        """Build what ``batch`` images of ``size`` (H, W) at a time need, so that the first ones do not wait for it."""

    def infer(self, images: "np.ndarray | torch.Tensor") -> "torch.Tensor":
        """Logits (N, C, h, w) before the final upsampling, from uint8 (N, H, W, 3), BGR, C-contiguous and writeable.

        The images are an array, or a tensor on ``device`` where that is a GPU; they are left as they are. The result
        may be overwritten by the next call, and a GPU may still be working on it.
        """

    def synchronize(self) -> None:
        """Wait until the device has done everything asked so far, so that a clock reads right."""

    def describe(self) -> dict[str, str]:
        """Engine, version, device and precision, for reports."""

    def close(self) -> None:
        """Give back what ``load`` took."""


# name -> (module, class); the module is imported only when its backend is asked for.
_BACKENDS = {
    "auto": ("lsabinet_core.inference.backends.auto", "AutoBackend"),
    "cuda-graph": ("lsabinet_core.inference.backends.cuda_graph", "CudaGraphBackend"),
    "onnxruntime": ("lsabinet_core.inference.backends.onnxruntime_", "OnnxRuntimeBackend"),
    "onnxruntime-tensorrt": ("lsabinet_core.inference.backends.onnxruntime_", "OnnxRuntimeTensorRTBackend"),
    "openvino": ("lsabinet_core.inference.backends.openvino_", "OpenVINOBackend"),
    "tensorrt": ("lsabinet_core.inference.backends.tensorrt_", "TensorRTBackend"),
    "torch": ("lsabinet_core.inference.backends.torch_", "TorchBackend"),
    "torch-compile": ("lsabinet_core.inference.backends.torch_compile", "TorchCompileBackend"),
    "torchscript": ("lsabinet_core.inference.backends.torchscript_", "TorchScriptBackend"),
}

# Which engines run an exported network of a format; the first where the user names none of them.
ENGINES_OF_FORMAT = {
    "onnx": ("onnxruntime", "onnxruntime-tensorrt", "openvino"),
    "openvino": ("openvino",),
    "torchscript": ("torchscript",),
    "tensorrt": ("tensorrt",),
}


def list_backends() -> list[str]:
    """Names that ``create_backend`` takes."""
    return sorted(_BACKENDS)


def create_backend(name: str, *, device: str = "auto", precision: str = "auto", threads: int = 0) -> Backend:
    """Make an engine by name, with nothing loaded yet.

    Args:
        name: one of ``list_backends()``.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        threads: most CPU threads that the engine computes with; 0 leaves its own choice.

    Raises:
        BackendError: unknown name, an engine that is not installed, or a device or precision that it does not offer.
    """
    if name not in _BACKENDS:
        raise BackendError(f"expected backend to be one of {', '.join(list_backends())}, got {name!r}")
    module, attribute = _BACKENDS[name]
    factory: Callable[..., Backend] = getattr(import_module(module), attribute)
    return factory(device=device, precision=precision, threads=at_most_cores(threads))


def engine_for(artefact: "Artefact", name: str) -> str:
    """The engine that runs an exported network: the one that ``name`` asks for, or its format's own for ``auto``.

    Raises:
        BackendError: an engine that does not read the format.
    """
    engines = ENGINES_OF_FORMAT[artefact.format]
    if name in engines:
        return name
    if name == "auto":
        return engines[0]
    raise BackendError(
        f"{artefact.path.name} is a {artefact.format} export: expected backend {' or '.join(engines)}, got {name!r}"
    )
