"""Real-time semantic segmentation for vehicles: the LSA-BiNet network, its training, evaluation and inference.

>>> from lsabinet_core import Segmenter, create_model
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmentation, Segmenter
    from lsabinet_core.models import create_model, list_models
    from lsabinet_core.models.weights import load_weights, save_weights

__version__ = "0.1.0"

_EXPORTS = {
    "Segmenter": "lsabinet_core.inference.segmenter",
    "Segmentation": "lsabinet_core.inference.segmenter",
    "create_model": "lsabinet_core.models",
    "list_models": "lsabinet_core.models",
    "load_weights": "lsabinet_core.models.weights",
    "save_weights": "lsabinet_core.models.weights",
}

__all__ = [
    "Segmentation",
    "Segmenter",
    "__version__",
    "create_model",
    "list_models",
    "load_weights",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    # Imported lazily, so that commands without a network (`lsabinet --help`, `lsabinet bag info`) skip PyTorch.
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
