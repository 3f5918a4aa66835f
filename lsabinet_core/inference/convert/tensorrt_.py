"""TensorRT engines, built from ONNX for the GPU at hand."""

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.optional import require

WORKSPACE_BYTES = 4 << 30


def import_tensorrt():
    return require("tensorrt", "backend tensorrt")


def build(content: bytes, *, half: bool, batch: int, size: tuple[int, int]) -> bytes:
    """A serialised engine for ``batch`` images of ``size`` (H, W), from the network's ONNX form. Takes minutes.

    Raises:
        BackendError: TensorRT is not installed, or refuses the network; says what it refused.
    """
    tensorrt = import_tensorrt()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # Explicit batch is a flag up to TensorRT 9 and the only way from 10 on.
    flag = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    definition = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = tensorrt.OnnxParser(definition, logger)
    if not parser.parse(content):
        reasons = "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise BackendError(f"TensorRT {tensorrt.__version__} does not take the network: {reasons}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if half:
        config.set_flag(tensorrt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    shape = (batch, *size, 3)
    profile.set_shape("images", shape, shape, shape)
    config.add_optimization_profile(profile)
    serialised = builder.build_serialized_network(definition, config)
    if serialised is None:
        raise BackendError(f"TensorRT {tensorrt.__version__} could not build an engine: its messages are above")
    return bytes(serialised)
