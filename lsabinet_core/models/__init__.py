"""Registry of the networks.

>>> create_model("lsabinet", num_classes=11)
>>> create_model("lsabinet", num_classes=11, lrfa=True, svfm=False, rcad=True)

Every file starts with the paper, the parameter and operation counts, and the layout of its network. ``64@1/4`` means 64
channels at a quarter of the image's height and width, ``s2`` a stride of 2, ``||`` parallel branches of one input whose
outputs are concatenated, and ``; +`` further tensors concatenated to the result. GMACs are 1e9 multiply-accumulate
operations per image.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from lsabinet_core.errors import ModelError

if TYPE_CHECKING:
    from .blocks import SegmentationNetwork

# "module:class" in this package, imported on demand; LSA-BiNet first, then the other networks by year.
_MODELS = {
    "lsabinet": "lsabinet:LSABiNet",
    "enet": "enet:ENet",
    "sqnet": "sqnet:SQNet",
    "segnet": "segnet:SegNet",
    "espnet": "espnet:ESPNet",
    "icnet": "icnet:ICNet",
    "erfnet": "erfnet:ERFNet",
    "dabnet": "dabnet:DABNet",
    "edanet": "edanet:EDANet",
    "esnet": "esnet:ESNet",
    "espnetv2": "espnetv2:ESPNetv2",
    "lednet": "lednet:LEDNet",
    "swiftnet": "swiftnet:SwiftNet",
    "cgnet": "cgnet:CGNet",
    "ddrnet23_slim": "ddrnet23_slim:DDRNet23Slim",
    "pidnet_s": "pidnet_s:PIDNetS",
    "lcnet": "lcnet:LCNet",
}

MAX_CLASSES = 255
"""Masks hold class ids as uint8, and 255 is void."""


def list_models() -> list[str]:
    """Return the names that ``create_model`` accepts."""
    return list(_MODELS)


def model_class(name: str) -> type[SegmentationNetwork]:
    """Return the class of a network, which has ``paper`` and ``year``. Raise ModelError for an unknown name."""
    if name not in _MODELS:
        raise ModelError(f"unknown model {name!r}: choose one of {', '.join(_MODELS)}")
    module, _, attribute = _MODELS[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def create_model(name: str, num_classes: int, **options: bool) -> SegmentationNetwork:
    """Create a randomly initialised network in training mode.

    Every network maps normalised images (N, 3, H, W), H and W of at least 64, to logits (N, num_classes, H, W). Its
    method ``low_resolution_logits`` returns the logits before the last bilinear upsampling.

    Args:
        name: one of ``list_models()``.
        num_classes: C, from 1 to ``MAX_CLASSES``.
        options: options of the network; ``lsabinet`` has ``lrfa``, ``svfm`` and ``rcad``, all True by default.

    Raises:
        ModelError: unknown name or option, or a number of classes that is not allowed.
    """
    network = model_class(name)
    if not 1 <= num_classes <= MAX_CLASSES:
        raise ModelError(f"expected num_classes from 1 to {MAX_CLASSES}, got {num_classes}")
    known = list(inspect.signature(network).parameters)[1:]
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = f"its options are {', '.join(known)}" if known else "it has none"
        raise ModelError(f"model {name!r} has no option {unknown[0]!r}: {allowed}")
    return network(num_classes, **options)
