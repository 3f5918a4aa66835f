"""TensorRT engines, built from ONNX for the GPU at hand."""

from typing import Any

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.optional import require

WORKSPACE_BYTES = 4 << 30

OLDEST = 10
"""The first version whose networks keep every operator in the type that it is given in."""


def import_tensorrt():
    """The package. Raises BackendError: not installed, or too old."""
    tensorrt = require("tensorrt", "backend tensorrt")
    if int(tensorrt.__version__.partition(".")[0]) < OLDEST:
        raise BackendError(f"expected TensorRT {OLDEST} or later, got {tensorrt.__version__}: pip install -U tensorrt")
    return tensorrt


def build(content: bytes, *, batch: int, size: tuple[int, int]) -> bytes:
    """A serialised engine for ``batch`` images of ``size`` (H, W), from the network's ONNX form. Takes minutes.

    Every operator computes in the ONNX form's own type: what that keeps in fp32 would not hold in fp16.

    Raises:
        BackendError: TensorRT is not installed, or refuses the network; says what it refused.
    """
    tensorrt = import_tensorrt()
    try:
        serialised = _build(tensorrt, content, (batch, *size, 3))
    except (AttributeError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        # Its interface changes from version to version.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(f"TensorRT {tensorrt.__version__} could not build an engine: {reason}") from error
    if serialised is None:
        raise BackendError(f"TensorRT {tensorrt.__version__} could not build an engine: its messages are above")
    return bytes(serialised)


def _build(tensorrt: Any, content: bytes, shape: tuple[int, int, int, int]) -> Any:
    """What TensorRT's builder returns: None where it fails."""
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # From TensorRT 11 on there is no other way, and no such flag need be.
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    definition = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = tensorrt.OnnxParser(definition, logger)
    if not parser.parse(content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BackendError(f"TensorRT {tensorrt.__version__} does not take the network: {reasons}")
    config = builder.create_builder_config()
    # It is the default, and is not fp32.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    profile = builder.create_optimization_profile()
    profile.set_shape("images", shape, shape, shape)
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(definition, config)
