"""The networks, by name.

>>> create_model("lsabinet", num_classes=11)
>>> create_model("lsabinet", num_classes=11, lrfa=True, svfm=False, rcad=True)
"""

from collections.abc import Callable

from torch import nn

from lsabinet_core.errors import ModelError

from .lsabinet import LSABiNet


def _dabnet(num_classes: int) -> LSABiNet:
    return LSABiNet(num_classes, lrfa=False, svfm=False, rcad=False)


_MODELS: dict[str, Callable[..., nn.Module]] = {
    "lsabinet": LSABiNet,
    "dabnet": _dabnet,
}


def list_models() -> list[str]:
    """Names that ``create_model`` takes."""
    return list(_MODELS)


def create_model(name: str, num_classes: int, **options: bool) -> nn.Module:
    """A freshly initialised network in training mode.

    Every network maps images (N, 3, H, W), normalised, H and W of at least 64, to logits (N, num_classes, H, W), and
    has ``low_resolution_logits``: the same before the last bilinear upsampling.

    Args:
        name: one of ``list_models()``.
        num_classes: C, at least 1.
        options: the network's own switches; ``lsabinet`` has ``lrfa``, ``svfm`` and ``rcad``, all True.

    Raises:
        ModelError: unknown name or option, or no classes.
    """
    if name not in _MODELS:
        raise ModelError(f"unknown model {name!r}: choose one of {', '.join(_MODELS)}")
    if num_classes < 1:
        raise ModelError(f"expected num_classes of at least 1, got {num_classes}")
    try:
        return _MODELS[name](num_classes, **options)
    except TypeError as error:
        raise ModelError(f"model {name!r} does not take these options: {error}") from None
