"""ONNX: for ONNX Runtime, TensorRT and other programs that read it."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from lsabinet_core.errors import WeightsError
from lsabinet_core.inference.convert import METADATA_KEY
from lsabinet_core.inference.deploy import network_for_files
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.optional import require
from lsabinet_core.models.limits import SMALLEST_INPUT

from .refusal import refusing

OPSET = 18

LARGEST_INPUT = 4096
EXAMPLE_SIZE = (136, 168)
"""Input size of the trace of a network for any size: height and width differ, and pooling divides neither evenly."""


def convert(
    network: Network,
    size: tuple[int, int] | None,
    *,
    batch: int | None = None,
    half: bool = False,
    output: str = "logits",
    rewrite: Callable[[nn.Module], None] = lambda deployed: None,
) -> bytes:
    """Convert the network to the content of an ONNX file with the input ``images``.

    Args:
        network: the network to convert.
        size: (H, W) of the input; None for any size from ``SMALLEST_INPUT`` to ``LARGEST_INPUT``.
        batch: images per call; None for any number.
        half: compute in fp16; the types of input and output do not change.
        output: ``logits`` or ``mask``, also the name of the output.
        rewrite: changes the deployed network in place before the conversion.

    Raises:
        BackendError: the network has an operator that ONNX lacks.
    """
    require("onnx", "ONNX export")
    require("onnxscript", "ONNX export")
    dtype = torch.float16 if half else torch.float32
    deployed = network_for_files(network.model, network.metadata, output, dtype, any_size=size is None)
    rewrite(deployed)
    # The exporter turns dimensions of size 1, or of the same size as another one, into constants.
    images = torch.zeros(batch or 2, *(size or EXAMPLE_SIZE), 3, dtype=torch.uint8)
    free = {} if batch else {0: torch.export.Dim("batch", min=1, max=64)}
    if size is None:
        sides = ("height", "width")
        free |= {
            1 + axis: torch.export.Dim(side, min=SMALLEST_INPUT, max=LARGEST_INPUT) for axis, side in enumerate(sides)
        }
    dynamic = (free,) if free else None
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
    assert program is not None, "with dynamo=True, export returns a program"
    return program.model_proto.SerializeToString()


def with_info(content: bytes, info: str) -> bytes:
    """Add metadata to an ONNX model."""
    onnx = require("onnx", "ONNX export")
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=info)
    return model.SerializeToString()


def read_info(path: Path) -> str | None:
    onnx = require("onnx", f"{path.name}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # noqa: BLE001
        # protobuf's DecodeError, whose module differs from version to version.
        raise WeightsError(f"{path} is not a complete ONNX file ({error}): export it again") from None
    return next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's progress and its notes about packages that it does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
