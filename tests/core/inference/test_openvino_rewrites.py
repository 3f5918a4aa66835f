"""OpenVINO's graphs are rewritten for speed and still match PyTorch."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsabinet_core.inference.backends.openvino_kernels import prefer_fast_kernels
from lsabinet_core.inference.backends.openvino_winograd import use_winograd
from lsabinet_core.inference.convert import openvino_

# Import OpenVINO as the package does, which disables telemetry.
openvino = openvino_.import_openvino()
op = openvino.opset13

PLAIN = {"strides": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1], "dilations": [1, 1]}


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model_of(build, *shape):
    """Build an openvino.Model with one input; returns the model and random values of the input."""
    parameter = op.parameter(shape, np.float32)
    return openvino.Model([op.result(build(parameter))], [parameter]), noise(*shape, seed=9)


def run(model, x: np.ndarray) -> np.ndarray:
    core = openvino.Core()
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]


def kinds(model) -> Counter:
    return Counter(operator.get_type_name() for operator in model.get_ordered_ops())


def kernels(model) -> set:
    """Heights and widths of the convolution kernels."""
    convolutions = (operator for operator in model.get_ordered_ops() if operator.get_type_name() == "Convolution")
    return {tuple(conv.input(1).get_partial_shape().to_shape()[2:]) for conv in convolutions}


# Widths divisible by six, divisible by four, and by neither.
@pytest.mark.parametrize("width", [12, 16, 14, 9, 5, 1])
def test_winograd_matches_direct_convolution(width):
    weights, biases, slopes = [noise(64, 66, 3, 3), noise(32, 64, 3, 3)], [noise(1, 64, 1, 1)], noise(64)

    def chain(x):
        x = op.add(op.convolution(x, op.constant(weights[0]), **PLAIN), op.constant(biases[0]))
        return op.convolution(op.prelu(x, op.constant(slopes)), op.constant(weights[1]), **PLAIN)

    model, x = model_of(chain, 2, 66, 7, width)
    use_winograd(model)
    # Both convolutions are replaced, and the columns are not joined between them.
    assert kernels(model) == {(3, 1)}
    assert kinds(model)["Concat"] == 1
    expected = F.conv2d(
        torch.from_numpy(x), torch.from_numpy(weights[0]), torch.from_numpy(biases[0]).flatten(), padding=1
    )
    expected = F.conv2d(F.prelu(expected, torch.from_numpy(slopes)), torch.from_numpy(weights[1]), padding=1).numpy()
    found = run(model, x)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_winograd_with_several_consumers():
    weight = noise(64, 64, 3, 3)

    def branches(x):
        y = op.relu(op.convolution(x, op.constant(weight), **PLAIN))
        return op.add(op.convolution(y, op.constant(weight), **PLAIN), op.multiply(y, op.constant(np.float32(3))))

    model, x = model_of(branches, 1, 64, 4, 12)
    expected = run(model, x)
    use_winograd(model)
    assert kernels(model) == {(3, 1)}
    assert np.abs(run(model, x) - expected).max() < 2e-5 * np.abs(expected).max()


def test_winograd_with_fp16_weights():
    model, x = model_of(lambda x: op.convolution(x, op.constant(noise(64, 64, 3, 3)), **PLAIN), 1, 64, 4, 12)
    half = openvino_.rounded_to_half(model)
    expected = run(half, x)
    use_winograd(half)
    assert kernels(half) == {(3, 1)}
    assert np.abs(run(half, x) - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((64, 64, 3, 3), {"strides": [2, 2]}),
        ((64, 64, 3, 3), {"dilations": [2, 2]}),
        ((64, 64, 3, 3), {"pads_end": [0, 0]}),
        ((64, 64, 3, 1), {"pads_begin": [1, 0], "pads_end": [1, 0]}),
        ((64, 32, 3, 3), {}),
        ((16, 64, 3, 3), {}),
    ],
)
def test_winograd_is_not_applied(shape, options):
    model, _ = model_of(
        lambda x: op.convolution(x, op.constant(noise(*shape)), **{**PLAIN, **options}), 1, shape[1], 9, 12
    )
    before = kinds(model)
    use_winograd(model)
    assert kinds(model) == before


def test_winograd_is_not_applied_to_int8():
    def quantised(x):
        weight = op.multiply(op.convert(op.constant(np.ones((64, 64, 3, 3), np.int8)), np.float32), np.float32(0.1))
        return op.convolution(x, weight, **PLAIN)

    model, _ = model_of(quantised, 1, 64, 9, 12)
    before = kinds(model)
    use_winograd(model)
    assert kinds(model) == before


def average(x, exclude_pad=False, rounding="floor"):
    return op.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], exclude_pad, rounding)


def test_average_pooling_of_few_channels_becomes_a_convolution():
    model, x = model_of(average, 2, 3, 9, 12)
    prefer_fast_kernels(model)
    assert kinds(model)["AvgPool"] == 0
    assert kernels(model) == {(3, 3)}
    expected = F.avg_pool2d(torch.from_numpy(x), 3, stride=2, padding=1).numpy()
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("channels", "options"), [(5, {}), (3, {"exclude_pad": True}), (3, {"rounding": "ceil"})])
def test_other_average_poolings_are_kept(channels, options):
    model, _ = model_of(lambda x: average(x, **options), 1, channels, 10, 12)
    prefer_fast_kernels(model)
    assert kinds(model)["AvgPool"] == 1


@pytest.mark.parametrize(
    ("kernel", "dilations", "found"),
    [
        ((3, 1), [1, 1], [1, 2]),
        ((1, 3), [1, 1], [2, 1]),
        ((3, 3), [1, 1], [1, 1]),
        ((3, 1), [4, 1], [4, 1]),
    ],
)
def test_depthwise_kernels_with_a_side_of_one(kernel, dilations, found):
    weight = noise(8, 1, 1, *kernel)
    pads = [(side - 1) // 2 * step for side, step in zip(kernel, dilations, strict=True)]
    options = {"strides": [1, 1], "pads_begin": pads, "pads_end": pads, "dilations": dilations}
    model, x = model_of(lambda x: op.group_convolution(x, op.constant(weight), **options), 1, 8, 9, 12)
    prefer_fast_kernels(model)
    [conv] = [operator for operator in model.get_ordered_ops() if operator.get_type_name() == "GroupConvolution"]
    assert list(conv.get_attributes()["dilations"]) == found
    expected = F.conv2d(torch.from_numpy(x), torch.from_numpy(weight[:, 0]), padding=pads, dilation=dilations, groups=8)
    np.testing.assert_allclose(run(model, x), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_selu():
    # The constants in the documentation of torch.nn.SELU.
    constants = [op.constant(np.float32(value)) for value in (1.6732632423543772, 1.0507009873554805)]
    model, x = model_of(lambda x: op.selu(x, *constants), 2, 8, 5, 7)
    prefer_fast_kernels(model)
    assert kinds(model)["Selu"] == 0
    assert kinds(model)["Elu"] == 1
    np.testing.assert_allclose(run(model, x), F.selu(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "lengths"), [("Split", None), ("VariadicSplit", [1, 1, 1])])
def test_channel_reversal_becomes_one_operator(kind, lengths):
    def reverse(x):
        parts = op.split(x, 3, 3) if lengths is None else op.variadic_split(x, 3, op.constant(np.array(lengths)))
        assert parts.get_type_name() == kind
        return op.concat([parts.output(index) for index in (2, 1, 0)], 3)

    model, x = model_of(reverse, 2, 4, 5, 3)
    prefer_fast_kernels(model)
    assert kinds(model)["Concat"] == kinds(model)[kind] == 0
    assert kinds(model)["Gather"] == 1
    np.testing.assert_array_equal(run(model, x), x[..., ::-1])


# Another order, a subset, parts of two channels, and concatenation along another axis than the split.
@pytest.mark.parametrize(
    ("channels", "count", "order", "joined"),
    [(3, 3, (0, 1, 2), 3), (3, 3, (1, 0), 3), (6, 3, (2, 1, 0), 3), (3, 3, (2, 1, 0), 0), (3, 3, (0,), 0)],
)
def test_other_shuffles_are_kept(channels, count, order, joined):
    def shuffle(x):
        parts = op.split(x, 3, count)
        return op.concat([parts.output(index) for index in order], joined)

    model, x = model_of(shuffle, 1, 4, 5, channels)
    prefer_fast_kernels(model)
    assert kinds(model)["Concat"] == 1
    assert kinds(model)["Gather"] == 0
    expected = np.concatenate([np.split(x, count, 3)[index] for index in order], joined)
    np.testing.assert_array_equal(run(model, x), expected)
