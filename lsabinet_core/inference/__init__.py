"""Frames in, masks out: the interface that the node, the commands, the evaluation and the benchmark share."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .segmenter import Segmentation, Segmenter, Timings

__all__ = ["Segmentation", "Segmenter", "Timings"]


def __getattr__(name: str) -> Any:
    # Imported on demand, so that engine names can be read without waiting for PyTorch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lsabinet_core.inference.segmenter"), name)
