"""PyTorch, eager: on the CPU and on CUDA GPUs."""

import copy

import torch
from torch import nn

from lsabinet_core.errors import BackendError

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """Runs the network in channels-last layout, in reduced precision through autocast.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``bf16``, or ``fp16`` (GPU only).

    Raises:
        BackendError: a device or precision that is unknown or not available here.
    """

    name = "torch"

    def __init__(self, device: str = "auto", precision: str = "auto"):
        self.device = choose_device(device)
        self.precision = _choose_precision(precision, self.device)
        self._model: nn.Module | None = None

    def load(self, model: nn.Module) -> None:
        model = copy.deepcopy(model).eval().requires_grad_(False)
        self._model = model.to(device=self.device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def infer(self, batch: torch.Tensor) -> torch.Tensor:
        if self._model is None:
            raise BackendError("expected a loaded network, got none: the backend is closed")
        reduced = self.precision != "fp32"
        with torch.autocast(self.device.type, dtype=_DTYPES[self.precision] if reduced else None, enabled=reduced):
            return self._model.low_resolution_logits(batch)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> dict[str, str]:
        is_cuda = self.device.type == "cuda"
        return {
            "backend": self.name,
            "engine": f"PyTorch {torch.__version__}",
            "device": str(self.device),
            "device_name": torch.cuda.get_device_name(self.device) if is_cuda else "CPU",
            "precision": self.precision,
        }

    def close(self) -> None:
        self._model = None


def choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdecimal())):
        raise BackendError(f"expected device to be auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise BackendError(f"device {name!r}: PyTorch finds no CUDA GPU here; use device cpu or auto")
        if index and int(index) >= torch.cuda.device_count():
            raise BackendError(f"device {name!r}: expected an index below {torch.cuda.device_count()}, the GPUs here")
    return torch.device(name)


def _choose_precision(name: str, device: torch.device) -> str:
    if name == "auto":
        return "fp32" if device.type == "cpu" else "fp16"
    if name not in _DTYPES:
        raise BackendError(f"expected precision to be auto, {', '.join(_DTYPES)}, got {name!r}")
    if name == "fp16" and device.type == "cpu":
        raise BackendError("precision 'fp16' needs a GPU; on the CPU use fp32 or bf16")
    return name
