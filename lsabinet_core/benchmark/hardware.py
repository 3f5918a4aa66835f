"""Description of the machine on which a measurement was made."""

import os
import platform
from importlib import metadata

import torch

import lsabinet_core
from lsabinet_core.cores import usable_cores
from lsabinet_core.inference.backends.choose import device_name

ENGINES = ("openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt")
"""Packages whose versions are recorded if they are installed."""

INSTRUCTIONS = {
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "BF16": ("avx512_bf16",),
    "AMX": ("amx_int8", "amx_bf16"),
}
"""Instructions for int8 and bf16 and the corresponding processor flags."""


def describe_machine(device: torch.device) -> dict:
    """Device, processor and its vector instructions, cores (of the machine and usable by this process), threads and
    versions, as JSON values."""
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
    """The device of ``describe_machine`` as text."""
    if machine["device"] != "cpu":
        return f"{machine['device_name']} ({machine['device']})"
    return f"{machine['device_name']} (cpu, {' '.join(machine['instructions'])})"


def _instructions() -> list[str]:
    """The widest vector instructions that PyTorch uses here, and the available ones of ``INSTRUCTIONS``.

    Processors with the same name may differ in them, and so may the speed of engines on them.
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
