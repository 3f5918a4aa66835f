"""Frames in, masks out: the one entry that the node, the commands, the evaluation and the benchmark share."""

from importlib import import_module

__all__ = ["Segmentation", "Segmenter", "Timings"]


def __getattr__(name: str):
    # On demand, so that names of engines can be read without waiting for PyTorch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lsabinet_core.inference.segmenter"), name)
