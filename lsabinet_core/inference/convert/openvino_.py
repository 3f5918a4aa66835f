"""OpenVINO's intermediate representation: F.xml with the graph and F.bin with the weights."""

import contextlib
import ctypes
import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsabinet_core.errors import WeightsError
from lsabinet_core.inference.convert import METADATA_KEY
from lsabinet_core.inference.deploy import network_for_files, split_depthwise
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.optional import require

from . import onnx_, torchscript
from .refusal import refusing


def import_openvino() -> Any:
    return require("openvino", "backend openvino")


@lru_cache(maxsize=1)
def shared_core() -> Any:
    """The ``openvino.Core`` of the process, which is never freed.

    OpenVINO's CPU plugin (2026.4) gives the thread that loads it an alternate stack for signal handlers, and frees the
    stack together with its Core, even if it is still in use because another Core was created since or the Core was
    freed in another thread. The next signal, such as Ctrl-C, would then crash the process.
    """
    return import_openvino().Core()


def convert(network: Network, size: tuple[int, int] | None, *, output: str = "logits") -> Any:
    """Convert to an ``openvino.Model`` in fp32 for one input size, or for any size (None), and any number of images.

    Args:
        network: the network to convert.
        size: (H, W) of the input, or None.
        output: ``logits`` or ``mask``.

    Raises:
        BackendError: the network has an operator that OpenVINO lacks, or a package is missing: a model for any size is
            converted by way of ONNX, because a trace contains values that depend on the size.
    """
    openvino = import_openvino()
    if size is None:
        return shared_core().read_model(onnx_.convert(network, None, output=output, rewrite=split_depthwise))
    deployed = network_for_files(network.model, network.metadata, output, torch.float32)
    split_depthwise(deployed)
    script = torchscript.trace(deployed, 1, size)
    shape = openvino.PartialShape([-1, *size, 3])
    with refusing(network, "an OpenVINO model"), _root_logger_kept():
        model = openvino.convert_model(script, input=[shape])
    model.inputs[0].get_tensor().set_names({"images"})
    model.outputs[0].get_tensor().set_names({output})
    del script, deployed
    _free_memory()
    return model


def with_masks(model: Any, size: tuple[int, int]) -> Any:
    """Append the final upsampling and argmax of ``MaskNetwork`` to an ``openvino.Model`` with ``logits`` for inputs of
    (H, W), for example a quantised one; the given model must not be used afterwards."""
    openvino = import_openvino()
    from openvino import opset13

    logits = model.outputs[0].get_node().input_value(0)
    sides, axes = (opset13.constant(np.array(values, np.int64)) for values in (size, (2, 3)))
    enlarged = opset13.interpolate(
        logits, sides, "linear_onnx", "sizes", axes=axes, coordinate_transformation_mode="half_pixel"
    )
    best = opset13.topk(enlarged, opset13.constant(np.int32(1)), 1, "max", "value", index_element_type="i32")
    mask = opset13.convert(opset13.squeeze(best.output(1), opset13.constant(np.array([1]))), "u8")
    masks = openvino.Model([opset13.result(mask)], model.get_parameters())
    masks.outputs[0].get_tensor().set_names({"mask"})
    return masks


def _free_memory() -> None:
    """Return the memory of the trace, several hundred MB at 512x1024, to the system: glibc would keep it."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Restore the root logger, which OpenVINO silences while it converts, and permanently if it fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, root.filters[:], root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def save(model: Any, path: Path, *, half: bool = False, info: str | None = None) -> None:
    """Write F.xml and F.bin.

    Args:
        model: ``openvino.Model``.
        path: ends in ``.xml``.
        half: store weights as fp16, which the engine converts to fp32 when it loads them.
        info: metadata to store, together with the digest of F.bin, so that files of different exports are detected.

    Raises:
        OSError: the files cannot be written.
    """
    _write(model, path, half)
    if info is not None:
        document = {"info": json.loads(info), "bin": _digest(path)}
        model.set_rt_info(json.dumps(document), [METADATA_KEY])
        _write(model, path, half)


def _write(model: Any, path: Path, half: bool) -> None:
    try:
        import_openvino().save_model(model, path, compress_to_fp16=half)
    except RuntimeError as error:
        # For example a full disk, about which OpenVINO gives no details.
        reason = str(error).strip().splitlines()[-1]
        raise OSError(
            f"OpenVINO cannot write {path.name} ({reason}): is there free space, and write permission?"
        ) from None


def rounded_to_half(model: Any) -> Any:
    """The model as ``save(half=True)`` and ``load`` return it."""
    openvino = import_openvino()
    core = openvino.Core()
    # Disabled because the files are deleted afterwards.
    core.set_property({"ENABLE_MMAP": False})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        _write(model, path, half=True)
        return core.read_model(path)


def load(path: Path) -> Any:
    """An ``openvino.Model`` from F.xml.

    Raises:
        WeightsError: the files cannot be read, or belong to different exports.
    """
    try:
        model = shared_core().read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightsError(f"{path} and its .bin cannot be read by OpenVINO ({reason}): export it again") from None
    carried = _carried(model)
    if carried is not None and carried["bin"] != _digest(path):
        raise WeightsError(f"{path.with_suffix('.bin')} was not written together with {path}: export it again")
    return model


def read_info(path: Path) -> str | None:
    return info_of(load(path))


def info_of(model: Any) -> str | None:
    """The metadata that ``save`` stored in an ``openvino.Model``."""
    carried = _carried(model)
    return None if carried is None else json.dumps(carried["info"])


def _carried(model: Any) -> dict | None:
    if not model.has_rt_info([METADATA_KEY]):
        return None
    value = model.get_rt_info([METADATA_KEY])
    return json.loads(value.astype(str) if hasattr(value, "astype") else value)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()
