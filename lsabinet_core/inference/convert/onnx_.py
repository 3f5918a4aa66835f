"""ONNX: for ONNX Runtime, TensorRT and whatever else reads it."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch

from lsabinet_core.errors import WeightsError
from lsabinet_core.inference.artefact import METADATA_KEY
from lsabinet_core.inference.deploy import static_network
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.optional import require

from .refusal import refusing

OPSET = 18


def convert(
    network: Network,
    size: tuple[int, int],
    *,
    batch: int | None = None,
    half: bool = False,
    output: str = "logits",
) -> bytes:
    """The network as an ONNX file's content, with the input ``images``.

    Args:
        network: what to convert.
        size: (H, W) of the input.
        batch: images at a time; None for any number.
        half: compute in fp16; input and output stay as they are.
        output: ``logits`` or ``mask``, which is its name, too.

    Raises:
        BackendError: the network has an operator that ONNX has not.
    """
    require("onnx", "ONNX export")
    require("onnxscript", "ONNX export")
    dtype = torch.float16 if half else torch.float32
    deployed = static_network(network.model, network.metadata, output, dtype)
    # A free dimension must not be exported from 1, which would be taken for a constant.
    images = torch.zeros(batch or 2, *size, 3, dtype=torch.uint8)
    dynamic = None if batch else ({0: torch.export.Dim("batch", min=1, max=64)},)
    with warnings.catch_warnings(), _quiet(), torch.no_grad(), refusing(network, "ONNX"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            deployed,
            (images,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=[output],
            dynamic_shapes=dynamic,
            verbose=False,
        )
    return program.model_proto.SerializeToString()


def with_info(content: bytes, info: str) -> bytes:
    """The same network with metadata."""
    onnx = require("onnx", "ONNX export")
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=info)
    return model.SerializeToString()


def read_info(path: Path) -> str | None:
    onnx = require("onnx", f"{path.name}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:
        # protobuf's DecodeError, whose module differs from version to version.
        raise WeightsError(f"{path} is not a whole ONNX file ({error}): export it again") from None
    return next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)


@contextlib.contextmanager
def _quiet():
    """Keep the exporter's progress and its notes on packages that it does not need from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
