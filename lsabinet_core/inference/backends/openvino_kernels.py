"""Rewrites operators into equivalent ones that OpenVINO's CPU plugin runs faster (2026.4, measured on AVX-512).

The rewrites are applied when an engine starts; the converted model on disk does not contain them.
"""

from typing import Any

import numpy as np

REWRITES = 3
"""Version of the rewrites, part of the cache key: increment it with every change, so that networks are recompiled."""

FEW_CHANNELS = 4


def prefer_fast_kernels(model: Any) -> None:
    """Rewrite an ``openvino.Model`` of fixed height and width in place."""
    for operator in model.get_ordered_ops():
        rewrite = _REWRITES.get(operator.get_type_name())
        if rewrite is not None and (new := rewrite(operator)) is not None:
            new.set_friendly_name(operator.get_friendly_name())
            operator.output(0).replace(new.output(0))
    model.validate_nodes_and_infer_types()


def _average_by_convolution(pool: Any) -> Any:
    """Average few channels with a convolution: OpenVINO's pooling would pad them, and later concatenations, to 16."""
    from openvino import opset13

    attributes = pool.get_attributes()
    channels = pool.input(0).get_partial_shape()[1].get_length()
    counts_padding = not attributes["exclude-pad"] or not any(attributes["pads_begin"] + attributes["pads_end"])
    if channels > FEW_CHANNELS or not counts_padding or attributes["rounding_type"] != "floor":
        return None
    kernel = attributes["kernel"]
    mean = np.eye(channels, dtype=np.float32)[:, :, None, None] / np.prod(kernel)
    return opset13.convolution(
        pool.input_value(0),
        np.broadcast_to(mean, (channels, channels, *kernel)).astype(np.float32),
        strides=attributes["strides"],
        pads_begin=attributes["pads_begin"],
        pads_end=attributes["pads_end"],
        dilations=[1, 1],
    )


def _dilate_sides_of_length_one(conv: Any) -> Any:
    """Dilate depthwise 3x1 and 1x3 kernels along their side of length 1, where dilation has no effect on the result but
    selects an implementation twice as fast."""
    from openvino import opset13

    attributes = conv.get_attributes()
    groups, outputs, inputs, *kernel = conv.input(1).get_partial_shape().to_shape()
    if not (outputs == inputs == 1 < groups and 1 in kernel and attributes["dilations"] == [1, 1]):
        return None
    return opset13.group_convolution(
        conv.input_value(0),
        conv.input_value(1),
        strides=attributes["strides"],
        pads_begin=attributes["pads_begin"],
        pads_end=attributes["pads_end"],
        dilations=[2 if side == 1 else 1 for side in kernel],
    )


def _selu_by_elu(selu: Any) -> Any:
    """Replace SELU by a scaled ELU: SELU has only a reference kernel, which imposes its layout on its neighbours."""
    from openvino import opset13

    x, alpha, scale = (selu.input_value(index) for index in range(3))
    if alpha.get_node().get_type_name() != "Constant":
        return None
    return opset13.multiply(opset13.elu(x, float(alpha.get_node().data.item())), scale)


def _reverse_in_one(concat: Any) -> Any:
    """Replace splitting the colour channels and concatenating them in reverse order by a single gather."""
    from openvino import opset13

    parts = [source.get_source_output() for source in concat.inputs()]
    split = parts[0].get_node()
    axis = concat.get_attributes()["axis"]
    reversal = list(range(len(parts)))[::-1]
    if (
        len(parts) < 2
        or split.get_type_name() not in ("Split", "VariadicSplit")
        or any(part.get_node() != split for part in parts)
        or [part.get_index() for part in parts] != reversal
        or any(part.get_partial_shape()[axis] != 1 for part in parts)
        or split.input_value(0).get_partial_shape()[axis] != len(parts)
    ):
        return None
    indices = opset13.constant(np.array(reversal, dtype=np.int64))
    return opset13.gather(split.input_value(0), indices, opset13.constant(np.int64(axis)))


_REWRITES = {
    "AvgPool": _average_by_convolution,
    "Concat": _reverse_in_one,
    "GroupConvolution": _dilate_sides_of_length_one,
    "Selu": _selu_by_elu,
}
