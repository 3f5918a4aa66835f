"""Resolution of device and precision names."""

import platform
from collections.abc import Sequence

import torch

from lsabinet_core.errors import BackendError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PRECISIONS = (*DTYPES, "int8")


def choose_device(name: str) -> torch.device:
    """Resolve ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``. Raises BackendError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Programs may pass a torch.device, against the annotation.
    kind, _, index = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in ("cpu", "cuda") or (index and (kind == "cpu" or not index.isdecimal())):
        raise BackendError(f"expected device to be auto, cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise BackendError(f"device {name!r}: PyTorch finds no CUDA GPU here; use device cpu or auto")
        if index and int(index) >= torch.cuda.device_count():
            raise BackendError(f"device {name!r}: expected an index below {torch.cuda.device_count()}, the GPUs here")
    return torch.device(name)


def choose_cpu(name: str, engine: str) -> torch.device:
    """The device of an engine that runs on the CPU only. Raises BackendError."""
    if name not in ("auto", "cpu"):
        choose_device(name)
        raise BackendError(f"backend {engine!r} runs on the CPU: expected device auto or cpu, got {name!r}")
    return torch.device("cpu")


def choose_cuda(name: str, engine: str) -> torch.device:
    """The device of an engine that runs on CUDA GPUs only. Raises BackendError."""
    device = choose_device(name)
    if device.type != "cuda":
        raise BackendError(f"backend {engine!r} needs a CUDA GPU, which PyTorch does not find here; use backend torch")
    return device


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16.

    A processor without them (AVX-512 BF16 or AMX on x86) emulates bf16 at a fraction of the speed of fp32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch reports the names of the instructions on x86, "bf16" on ARM, and nothing in older versions.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def choose_precision(name: str, device: torch.device, engine: str, offered: Sequence[str]) -> str:
    """Resolve ``auto`` (fp32 on the CPU, fp16 on a GPU) or one of ``offered``. Raises BackendError."""
    if name == "auto":
        return "fp32" if device.type == "cpu" else "fp16"
    if name not in PRECISIONS:
        raise BackendError(f"expected precision to be auto, {', '.join(PRECISIONS)}, got {name!r}")
    if name not in offered:
        where = "the CPU" if device.type == "cpu" else "a GPU"
        raise BackendError(
            f"expected precision to be auto, {', '.join(offered)} for backend {engine!r} on {where}, got {name!r}"
        )
    return name


def device_name(device: torch.device) -> str:
    """The model name of a GPU, or of the processor if the system reports it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _processor()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"
