"""What a measurement was taken on."""

import os
import platform
from importlib import metadata

import torch

import lsabinet_core
from lsabinet_core.cores import usable_cores
from lsabinet_core.inference.backends.common import device_name

ENGINES = ("openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt")
"""Packages whose version is told where they are installed."""

INSTRUCTIONS = {
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16",),
    "AMX": ("amx_int8", "amx_bf16"),
}
"""Names of what a processor may have for int8 and bf16, by the flags that it tells of them."""


def describe_machine(device: torch.device) -> dict:
    """Device, processor and its vector instructions, cores (those of the machine and those that this process may use),
    threads and versions, as JSON values."""
    return {
        "device": str(device),
        "device_name": device_name(device),
        "cpu": device_name(torch.device("cpu")),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "versions": {
            "lsabinet": lsabinet_core.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cuda": torch.version.cuda,
            **_engine_versions(),
        },
    }


def counted(number: int, noun: str) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show_device(machine: dict) -> str:
    """The device of ``describe_machine`` in words."""
    if machine["device"] != "cpu":
        return f"{machine['device_name']} ({machine['device']})"
    return f"{machine['device_name']} (cpu, {' '.join(machine['instructions'])})"


def _instructions() -> list[str]:
    """The widest vector instructions that PyTorch uses here, and which of ``INSTRUCTIONS`` there are.

    Processors of one name differ in them, and the engines' speed with them.
    """
    flags = getattr(torch.cpu, "get_capabilities", dict)()
    special = [name for name, any_of in INSTRUCTIONS.items() if any(flags.get(flag) for flag in any_of)]
    return [torch.backends.cpu.get_cpu_capability(), *special]


def _engine_versions() -> dict[str, str]:
    versions = {}
    for package in ENGINES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
