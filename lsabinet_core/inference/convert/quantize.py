"""int8 by post-training quantisation (NNCF): ranges are measured on frames, nothing is trained."""

import contextlib
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.optional import require

KEEP_FLOATING = (
    # SoftPool's exponentials and its quotient, and the gates that scale every pixel by what follows from it.
    r".*\.lrfa[./].*",
    # Coarse maxima and the variance of each channel, whose ranges have no bound.
    r".*\.svfm\.structure[./].*",
    # RCAD's gates and sums, between its convolutions.
    r".*\.decoder/.*",
    # The logits themselves: their differences decide.
    r".*\.decoder\.classify/.*",
)
"""Operators that stay in floating point: regular expressions of OpenVINO's names, the module's path and the kind."""

CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")


def quantize(model: Any, images: Iterable[np.ndarray], count: int, keep: Sequence[str] = KEEP_FLOATING) -> Any:
    """An ``openvino.Model`` with int8 convolutions.

    Args:
        model: ``openvino.Model`` in fp32; it is left as it is.
        images: uint8 (H, W, 3), BGR, of the model's size; gone through several times.
        count: how many of them there are.
        keep: regular expressions of operators that stay in floating point.

    Raises:
        BackendError: NNCF is not installed, or ``keep`` has something that is no regular expression or, unless it is
            ``KEEP_FLOATING``, matches no operator.
    """
    names = [operator.get_friendly_name() for operator in model.get_ordered_ops()]
    for pattern in keep:
        try:
            matches = any(re.match(pattern, name) for name in names)
        except re.error as error:
            raise BackendError(
                f"expected a regular expression of operators to keep, got {pattern!r}: {error}"
            ) from None
        # Other networks have none of the operators that LSA-BiNet needs kept.
        if not matches and pattern not in KEEP_FLOATING:
            raise BackendError(f"no operator to keep in floating point matches {pattern!r}; one is {names[-2]!r}")
    nncf = require("nncf", "int8")
    nncf.set_log_level(logging.ERROR)
    data = nncf.Dataset(images, lambda image: np.ascontiguousarray(image)[None])
    # Its bars of progress are no result.
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(
            model.clone(),
            data,
            # Asymmetric for activations: PReLU leaves negative ones, fewer than positive.
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=count,
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(patterns=list(keep), validate=False),
        )


def floating_layers(model: Any) -> list[str]:
    """The convolutions of a quantised ``openvino.Model`` that stayed in floating point, by their modules' paths."""
    names = []
    for operator in model.get_ordered_ops():
        if operator.get_type_name() not in CONVOLUTIONS:
            continue
        if operator.input_value(0).get_node().get_type_name() != "FakeQuantize":
            # __module.network.lrfa.squeeze/aten::_convolution/Convolution
            names.append(re.sub(r"^__module\.(network\.)?", "", operator.get_friendly_name()).partition("/")[0])
    return list(dict.fromkeys(names))
