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


def describe_machine(device: torch.device) -> dict:
    """Device, processor, cores (those of the machine and those that this process may use), threads and versions, as
    JSON values."""
    return {
        "device": str(device),
        "device_name": device_name(device),
        "cpu": device_name(torch.device("cpu")),
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


def _engine_versions() -> dict[str, str]:
    versions = {}
    for package in ENGINES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
