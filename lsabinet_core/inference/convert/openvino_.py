"""OpenVINO's intermediate representation: F.xml with the graph and F.bin with the numbers."""

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

import torch

from lsabinet_core.errors import WeightsError
from lsabinet_core.inference.artefact import METADATA_KEY
from lsabinet_core.inference.deploy import split_depthwise, static_network
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.optional import require

from . import torchscript
from .refusal import refusing


def import_openvino():
    return require("openvino", "backend openvino")


@lru_cache(maxsize=1)
def shared_core() -> Any:
    """The ``openvino.Core`` of the process, which is never given back.

    OpenVINO's CPU plugin (2026.4) gives the thread that loads it a stack to handle signals on, and takes it away with
    its Core: also where it is in use still, because another Core has come since or the Core goes in another thread. The
    next signal, Ctrl-C say, would then crash the process.
    """
    return import_openvino().Core()


def convert(network: Network, size: tuple[int, int], *, output: str = "logits") -> Any:
    """An ``openvino.Model`` in fp32 for one input size and any number of images, output ``logits`` or ``mask``.

    Raises:
        BackendError: the network has an operator that OpenVINO has not.
    """
    openvino = import_openvino()
    deployed = static_network(network.model, network.metadata, output, torch.float32)
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


def _free_memory() -> None:
    """Hand back what the trace took, several hundred MB at 512x1024, which glibc would keep."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """OpenVINO silences the root logger while it converts, and for good where it fails."""
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
        half: store numbers as fp16, which the engine widens when it loads them.
        info: metadata to carry. The digest of F.bin goes with it, so that two files of different exports are noticed.

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
        # A full disk, say, of which OpenVINO knows no more than that.
        reason = str(error).strip().splitlines()[-1]
        raise OSError(f"OpenVINO cannot write {path} ({reason}): is there space, and the right to write?") from None


def rounded_to_half(model: Any) -> Any:
    """The model as it is after ``save(half=True)`` and ``load``."""
    openvino = import_openvino()
    core = openvino.Core()
    # The files are gone afterwards.
    core.set_property({"ENABLE_MMAP": False})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        _write(model, path, half=True)
        return core.read_model(path)


def load(path: Path) -> Any:
    """An ``openvino.Model`` from F.xml.

    Raises:
        WeightsError: the files cannot be read, or do not belong together.
    """
    try:
        model = shared_core().read_model(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightsError(f"{path} and its .bin cannot be read by OpenVINO ({reason}): export it again") from None
    carried = _carried(model)
    if carried is not None and carried["bin"] != _digest(path):
        raise WeightsError(f"{path.with_suffix('.bin')} is not the one that {path} was written with: export it again")
    return model


def read_info(path: Path) -> str | None:
    return info_of(load(path))


def info_of(model: Any) -> str | None:
    """The metadata that ``save`` gave an ``openvino.Model``."""
    carried = _carried(model)
    return None if carried is None else json.dumps(carried["info"])


def _carried(model: Any) -> dict | None:
    if not model.has_rt_info([METADATA_KEY]):
        return None
    value = model.get_rt_info([METADATA_KEY])
    return json.loads(value.astype(str) if hasattr(value, "astype") else value)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()
