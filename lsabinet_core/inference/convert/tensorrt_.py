"""TensorRT engines, built from ONNX for the GPU of this machine."""

from typing import Any

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.optional import require

WORKSPACE_BYTES = 4 << 30

OLDEST = 10
"""The first major version in which every operator computes in the type that the network assigns to it."""


def import_tensorrt() -> Any:
    """Import the package. Raises BackendError if it is not installed or too old."""
    tensorrt = require("tensorrt", "backend tensorrt")
    if int(tensorrt.__version__.partition(".")[0]) < OLDEST:
        raise BackendError(f"expected TensorRT {OLDEST} or later, got {tensorrt.__version__}: pip install -U tensorrt")
    return tensorrt


def build(content: bytes, *, batch: int, size: tuple[int, int]) -> bytes:
    """Build a serialised engine for ``batch`` images of ``size`` (H, W) from an ONNX model. Takes minutes.

    Every operator computes in its type in the ONNX model, because some are inaccurate in fp16.

    Raises:
        BackendError: TensorRT is not installed or rejects the network; the message gives the reason.
    """
    tensorrt = import_tensorrt()
    try:
        serialised = _build(tensorrt, content, (batch, *size, 3))
    except (AttributeError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        # The interface differs between versions.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(f"TensorRT {tensorrt.__version__} could not build an engine: {reason}") from error
    if serialised is None:
        raise BackendError(f"TensorRT {tensorrt.__version__} could not build an engine: see its messages above")
    return bytes(serialised)


def _build(tensorrt: Any, content: bytes, shape: tuple[int, int, int, int]) -> Any:
    """The result of TensorRT's builder; None if it fails."""
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # From TensorRT 11 on this is the only mode, and the flag may not exist.
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    definition = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = tensorrt.OnnxParser(definition, logger)
    if not parser.parse(content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BackendError(f"TensorRT {tensorrt.__version__} does not support the network: {reasons}")
    config = builder.create_builder_config()
    # The default would compute fp32 in TF32.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    profile = builder.create_optimization_profile()
    profile.set_shape("images", shape, shape, shape)
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(definition, config)
