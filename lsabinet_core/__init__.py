"""Real-time semantic segmentation for vehicles: the LSA-BiNet network, its training, evaluation and inference.

>>> from lsabinet_core import Segmenter, create_model
"""

from importlib import import_module

__version__ = "0.1.0"

_EXPORTS = {
    "Segmenter": "lsabinet_core.inference.segmenter",
    "Segmentation": "lsabinet_core.inference.segmenter",
    "create_model": "lsabinet_core.models",
    "list_models": "lsabinet_core.models",
    "load_weights": "lsabinet_core.models.weights",
    "save_weights": "lsabinet_core.models.weights",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str):
    # On demand, so that what needs no network (`lsabinet --help`, `lsabinet bag info`) does not wait for PyTorch.
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
