"""The networks, by name.

>>> create_model("lsabinet", num_classes=11)
>>> create_model("lsabinet", num_classes=11, lrfa=True, svfm=False, rcad=True)

Every file opens with its paper, its counts and its layout. There ``64@1/4`` is 64 channels at a quarter of the image's
height and width, ``s2`` a stride of 2, ``||`` stands between what is computed side by side of one input and
concatenated, and ``; +`` before what is concatenated to that. GMACs are multiply-accumulates of one image, in 1e9.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from lsabinet_core.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

# "module:class" below this package, imported when a network is asked for; LSA-BiNet, then its rivals by year.
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


def list_models() -> list[str]:
    """Names that ``create_model`` takes."""
    return list(_MODELS)


def model_class(name: str) -> type[nn.Module]:
    """The class of a network, with its ``paper`` and ``year``. Raises ModelError for an unknown name."""
    if name not in _MODELS:
        raise ModelError(f"unknown model {name!r}: choose one of {', '.join(_MODELS)}")
    module, _, attribute = _MODELS[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


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
    network = model_class(name)
    if num_classes < 1:
        raise ModelError(f"expected num_classes of at least 1, got {num_classes}")
    known = list(inspect.signature(network).parameters)[1:]
    unknown = [option for option in options if option not in known]
    if unknown:
        allowed = f"its options are {', '.join(known)}" if known else "it has none"
        raise ModelError(f"model {name!r} has no option {unknown[0]!r}: {allowed}")
    return network(num_classes, **options)
