"""3x3 convolutions with fewer multiplications (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
CVPR 2016), applied along the width only; OpenVINO's own kernels do not use Winograd's algorithm.

A 3x3 convolution is the sum over its rows of three one-dimensional convolutions with 3 taps. Six adjacent outputs of
one of these are coefficients of a polynomial product, which is determined by its values at eight points: 8 instead of
18 multiplications, at the cost of additions before and after. These are limited by memory bandwidth, so the method
pays off for many channels. The result differs from the direct convolution by rounding only, about 1e-6 of the maximum.

In two dimensions (36 instead of 144 multiplications) it would need more than twice the memory traffic, and gains
nothing.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import polynomial

POINTS = {6: (0, 1, -1, 2, -2, 0.5, -0.5), 4: (0, 1, -1, 2, -2)}
"""Outputs per tile -> evaluation points, in addition to infinity; the preferred tile first."""

# Below these numbers of channels, the additions cost as much as the multiplications save.
MIN_INPUTS, MIN_OUTPUTS = 64, 32

END = np.iinfo(np.int64).max


def use_winograd(model: Any) -> None:
    """Replace the 3x3 convolutions of an ``openvino.Model`` of fixed shape that become faster, in place."""
    # Outputs of replaced convolutions, as columns: a following convolution uses them before they are joined.
    columns_of: dict[str, list] = {}
    for conv in model.get_ordered_ops():
        if conv.get_type_name() != "Convolution":
            continue
        weight = _constant(conv.input_value(1))
        if weight is not None and _suits(conv, weight):
            _replace(conv, weight, columns_of)
    model.validate_nodes_and_infer_types()


def _suits(conv: Any, weight: np.ndarray) -> bool:
    attributes = conv.get_attributes()
    plain = all(list(attributes[name]) == [1, 1] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    outputs, inputs, *kernel = weight.shape
    return plain and kernel == [3, 3] and inputs >= MIN_INPUTS and outputs >= MIN_OUTPUTS


def _constant(value: Any) -> np.ndarray | None:
    """The values of a constant stored as fp32 or fp16; None for anything else, such as int8."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    floating = node.get_type_name() == "Constant" and node.get_element_type().is_real()
    return np.asarray(node.data, dtype=np.float32) if floating else None


def _replace(conv: Any, weight: np.ndarray, columns_of: dict[str, list]) -> None:
    """Split the image into the columns of each position in a tile, convolve them, and join them again."""
    from openvino import opset13 as op

    image = conv.input_value(0)
    batch, _, height, width = image.get_partial_shape().to_shape()
    tile = next((tile for tile in POINTS if width % tile == 0), max(POINTS))
    missing = -width % tile
    columns = columns_of.get(image.get_node().get_name())
    if columns is None:
        whole = _pad(image, 0, missing) if missing else image
        columns = [op.slice(whole, [place], [END], [tile], [3]) for place in range(tile)]
    elif missing:
        # Restore the zeros beyond the edge of the image.
        columns = columns[:-missing] + [_pad(_pad(column, 0, -1), 0, 1) for column in columns[-missing:]]
    columns = _convolve(columns, weight, tile)
    last = conv
    while (follower := _follower(last)) is not None:
        last, apply = follower
        columns = [apply(column) for column in columns]
    # In channels-last memory adjacent columns are adjacent channels: only the concatenation copies data.
    joined = op.transpose(op.concat(columns, 1), [0, 2, 3, 1])
    joined = op.reshape(joined, [batch, height, width + missing, len(weight)], special_zero=False)
    joined = op.transpose(joined, [0, 3, 1, 2])
    if missing:
        joined = op.slice(joined, [0], [width], [1], [3])
    joined.set_friendly_name(last.get_friendly_name())
    last.output(0).replace(joined.output(0))
    columns_of[joined.get_name()] = columns


def _convolve(columns: list, weight: np.ndarray, tile: int) -> list:
    """A 3x3 convolution of an image that is given and returned as the columns of each position in a tile."""
    from openvino import opset13 as op

    outputs, kernels, inputs = _matrices(tile)
    weights = np.einsum("fk,oihk->foih", kernels, weight, optimize=True).astype(np.float32)[..., None]
    # A tile reads its own columns and one column of each neighbouring tile.
    seen = [_pad(columns[-1], 1, -1), *columns, _pad(columns[0], -1, 1)]
    values = _sums_and_differences([_weighted_sum(row, seen) for row in inputs])
    # An array in place of a constant would be passed on as a list of Python numbers, which takes seconds for SegNet.
    products = [
        op.convolution(value, op.constant(part), strides=[1, 1], pads_begin=[1, 0], pads_end=[1, 0], dilations=[1, 1])
        for value, part in zip(values, weights, strict=True)
    ]
    products = _sums_and_differences(products)
    return [_weighted_sum(row, products) for row in outputs]


def _follower(node: Any) -> tuple[Any, Callable] | None:
    """The only consumer of a node if it is a bias or activation that treats all positions alike, and its function."""
    from openvino import opset13 as op

    takers = list(node.output(0).get_target_inputs())
    if len(takers) != 1:
        return None
    follower = takers[0].get_node()
    kind = follower.get_type_name()
    if kind == "Relu":
        return follower, op.relu
    if kind not in ("Add", "PRelu") or takers[0].get_index() != 0:
        return None
    factors = follower.input_value(1)
    if _constant(factors) is None or list(factors.get_partial_shape().to_shape())[2:] not in ([], [1, 1]):
        return None
    return follower, lambda column: (op.add if kind == "Add" else op.prelu)(column, factors)


def _pad(value: Any, before: int, after: int) -> Any:
    """Pad an image with zeros on the left and right; negative numbers remove columns."""
    from openvino import opset13 as op

    return op.pad(value, [0, 0, 0, before], [0, 0, 0, after], "constant", op.constant(0, np.float32))


def _sums_and_differences(values: list) -> list:
    """Sums and differences of each pair of opposite points, which share half of their terms; the ends are unpaired."""
    pairs = zip(values[1:-1:2], values[2:-1:2], strict=True)
    return [values[0], *(mixed for one, other in pairs for mixed in (one + other, one - other)), values[-1]]


def _weighted_sum(factors: np.ndarray, values: list) -> Any:
    from openvino import opset13 as op

    total = None
    for factor, value in zip(factors.tolist(), values, strict=True):
        if factor:
            term = value if factor == 1 else op.multiply(value, op.constant(factor, np.float32))
            total = term if total is None else op.add(total, term)
    return total


def _matrices(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (tile, tile + 2), G (tile + 2, 3) and B (tile + 2, tile + 2): A S ((G w) * (S B x)) is x correlated with w.

    S is ``_sums_and_differences``.
    """
    points = np.array(POINTS[tile], dtype=float)
    count = len(points) + 1
    outputs, kernels, inputs = np.zeros((tile, count)), np.zeros((count, 3)), np.zeros((count, count))
    for index, point in enumerate(points):
        others = np.delete(points, index)
        outputs[:, index] = point ** np.arange(tile)
        kernels[index] = point ** np.arange(3) / np.prod(point - others)
        inputs[index, :-1] = polynomial.polyfromroots(others)
    # The last point is infinity, which only the highest power contributes to.
    outputs[-1, -1] = kernels[-1, -1] = 1
    inputs[-1] = polynomial.polyfromroots(points)
    # Applying S twice doubles everything but the first and the last value.
    half = np.full((count, 1), 0.5)
    half[0] = half[-1] = 1
    inputs, outputs = (half * np.stack(_sums_and_differences(list(matrix))) for matrix in (inputs, outputs.T))
    return outputs.T, kernels, inputs
