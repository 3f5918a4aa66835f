"""What a measurement was taken on."""

import os
import platform
from pathlib import Path

import torch

import lsabinet_core


def device_name(device: torch.device) -> str:
    """The GPU's or the CPU's product name; the CPU's architecture where the system does not tell its name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_machine(device: torch.device) -> dict:
    """Device, cores, threads and versions, as JSON values."""
    return {
        "device": str(device),
        "device_name": device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {
            "lsabinet": lsabinet_core.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cuda": torch.version.cuda,
        },
    }
