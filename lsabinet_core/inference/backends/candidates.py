"""The engines among which ``auto`` chooses, and how a user comes by them."""

import importlib.util

PLAIN = "torch"
"""Needs no package of its own, no building and no size in advance."""

CANDIDATES = {
    "cpu": ("openvino", "torch-compile", "onnxruntime", PLAIN),
    "cuda": ("tensorrt", "onnxruntime-tensorrt", "torch-compile", "cuda-graph", "onnxruntime", PLAIN),
}
"""Engines by kind of device, the one that is fastest on most machines first; PyTorch last, as it always works."""

PACKAGES = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "onnxruntime-tensorrt": "onnxruntime",
    "tensorrt": "tensorrt",
}
"""The package without which an engine is not there at all."""

_FORMATS = {"openvino": "openvino", "onnxruntime": "onnx", "tensorrt": "tensorrt"}


def is_installed(name: str) -> bool:
    return name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]) is not None


def export_command(name: str, precision: str, shape: tuple[int, int, int]) -> str | None:
    """What builds the engine for images (N, H, W) in advance; None where ``lsabinet export`` does not."""
    # int8 is there already where a size is asked for, and nothing is stored as bf16.
    if name not in _FORMATS or precision not in ("fp32", "fp16"):
        return None
    batch, height, width = shape
    # The ONNX form takes any number.
    some = f" --batch {batch}" if batch > 1 and name != "onnxruntime" else ""
    return f"`lsabinet export --to {_FORMATS[name]} --precision {precision} --size {height}x{width}{some} --weights W`"
