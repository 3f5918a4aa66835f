"""The engines from which ``auto`` chooses, and how a user obtains them."""

import importlib.util

PLAIN = "torch"
"""The engine without extra packages, builds or fixed sizes."""

CANDIDATES = {
    "cpu": ("openvino", "torch-compile", "onnxruntime", PLAIN),
    "cuda": ("tensorrt", "onnxruntime-tensorrt", "torch-compile", "cuda-graph", "onnxruntime", PLAIN),
}
"""Engines by device type, the fastest on most machines first; PyTorch is last, because it always works."""

PACKAGES = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "onnxruntime-tensorrt": "onnxruntime",
    "tensorrt": "tensorrt",
}
"""The package that an engine requires."""

_FORMATS = {"openvino": "openvino", "onnxruntime": "onnx", "tensorrt": "tensorrt"}


def is_installed(name: str) -> bool:
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


def export_command(name: str, precision: str, shape: tuple[int, int, int]) -> str | None:
    """The command that builds the engine for images (N, H, W) in advance; None if ``lsabinet export`` cannot."""
    # int8 must be calibrated before it can be used, and bf16 is not a storage format.
    if name not in _FORMATS or precision not in ("fp32", "fp16"):
        return None
    batch, height, width = shape
    # The ONNX model accepts any number of images.
    some = f" --batch {batch}" if batch > 1 and name != "onnxruntime" else ""
    return f"`lsabinet export --to {_FORMATS[name]} --precision {precision} --size {height}x{width}{some} --weights W`"
