"""The code around TensorRT, which few machines have: how engines are requested, and how failures are reported."""

import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.convert import tensorrt_


@pytest.fixture
def tensorrt(monkeypatch):
    """A stand-in for the package tensorrt, version 10."""
    package = MagicMock(__version__="10.9.0")
    package.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    builder = package.Builder.return_value
    builder.build_serialized_network.return_value = b"engine"
    monkeypatch.setitem(sys.modules, "tensorrt", package)
    return package


def build():
    return tensorrt_.build(b"onnx", batch=1, size=(96, 128))


def test_network_is_strongly_typed(tensorrt):
    assert build() == b"engine"
    builder = tensorrt.Builder.return_value
    builder.create_network.assert_called_once_with(1 << 1)
    builder.create_optimization_profile.return_value.set_shape.assert_called_once_with("images", *[(1, 96, 128, 3)] * 3)
    builder.create_builder_config.return_value.set_flag.assert_not_called()
    # TF32 is the default and less accurate than fp32.
    builder.create_builder_config.return_value.clear_flag.assert_called_once_with(tensorrt.BuilderFlag.TF32)
    # In version 11 strong typing is the only mode, and the flag does not exist.
    tensorrt.__version__, tensorrt.NetworkDefinitionCreationFlag = "11.0", SimpleNamespace()
    assert build() == b"engine"
    builder.create_network.assert_called_with(0)


def test_failures_are_one_line(tensorrt):
    builder, parser = tensorrt.Builder.return_value, tensorrt.OnnxParser.return_value
    builder.build_serialized_network.return_value = None
    with pytest.raises(BackendError, match=r"10.9.0 could not build an engine"):
        build()
    builder.create_builder_config.side_effect = AttributeError("no such thing\nas that")
    with pytest.raises(BackendError, match=r"^TensorRT 10.9.0 could not build an engine: no such thing$"):
        build()
    parser.parse.return_value, parser.num_errors = False, 1
    parser.get_error.return_value.desc.return_value = "UINT8 input"
    with pytest.raises(BackendError, match="does not support the network: UINT8 input"):
        build()
    tensorrt.__version__ = "8.6.1"
    with pytest.raises(BackendError, match=r"expected TensorRT 10 or later, got 8.6.1: pip install"):
        build()
