"""int8 by post-training quantisation (NNCF): ranges are measured on frames, without training."""

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
    # SoftPool's exponentials and quotient, and the gates that scale every pixel by their result.
    r".*\.lrfa[./].*",
    # Coarse maxima and the variance of each channel, whose ranges are unbounded.
    r".*\.svfm\.structure[./].*",
    # RCAD's gates and sums between its convolutions.
    r".*\.decoder/.*",
    # The logits, whose small differences decide the class.
    r".*\.decoder\.classify/.*",
)
"""Operators that stay in floating point: regular expressions for OpenVINO's names (module path and operator type)."""

CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")


def quantize(model: Any, images: Iterable[np.ndarray], count: int, keep: Sequence[str] = KEEP_FLOATING) -> Any:
    """An ``openvino.Model`` with int8 convolutions.

    Args:
        model: ``openvino.Model`` in fp32; it is not modified.
        images: uint8 (H, W, 3), BGR, of the model's size; iterated several times.
        count: the number of images.
        keep: regular expressions for operators that stay in floating point.

    Raises:
        BackendError: NNCF is not installed, or an entry of ``keep`` is not a valid regular expression or matches no
            operator (unless it is in ``KEEP_FLOATING``).
    """
    names = [operator.get_friendly_name() for operator in model.get_ordered_ops()]
    for pattern in keep:
        try:
            matches = any(re.match(pattern, name) for name in names)
        except re.error as error:
            raise BackendError(
                f"expected a regular expression of operators to keep, got {pattern!r}: {error}"
            ) from None
        # Other networks do not have the operators of KEEP_FLOATING.
        if not matches and pattern not in KEEP_FLOATING:
            raise BackendError(f"no operator to keep in floating point matches {pattern!r}; one is {names[-2]!r}")
    nncf = require("nncf", "int8")
    nncf.set_log_level(logging.ERROR)
    data = nncf.Dataset(images, lambda image: np.ascontiguousarray(image)[None])
    # Progress bars must not mix with results on stdout.
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(
            model.clone(),
            data,
            # Asymmetric activations: PReLU passes negative values, in a smaller range than positive ones.
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=count,
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(patterns=list(keep), validate=False),
        )


def floating_layers(model: Any) -> list[str]:
    """Module paths of the convolutions in a quantised ``openvino.Model`` that stayed in floating point."""
    names = []
    for operator in model.get_ordered_ops():
        if operator.get_type_name() not in CONVOLUTIONS:
            continue
        if operator.input_value(0).get_node().get_type_name() != "FakeQuantize":
            # __module.network.lrfa.squeeze/aten::_convolution/Convolution
            names.append(re.sub(r"^__module\.(network\.)?", "", operator.get_friendly_name()).partition("/")[0])
    return list(dict.fromkeys(names))
