"""Networks into files for other machines and programs, checked before they appear."""

import dataclasses
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsabinet_core import __version__
from lsabinet_core.errors import BackendError, ModelError
from lsabinet_core.files import write_text
from lsabinet_core.models.blocks import SMALLEST_INPUT

from .artefact import SUFFIXES, Artefact, ExportInfo, open_artefact, publishing
from .backends import create_backend, engine_for
from .backends.choices import forget_choices
from .cache import cache_directory
from .convert import onnx_, openvino_, quantize, tensorrt_, torchscript
from .deploy import FORM, static_network
from .network import Network
from .parity import LEAST_AGREEMENT, Parity, compare, compare_masks

log = logging.getLogger(__name__)

FORMATS = tuple(SUFFIXES)
PRECISIONS = ("fp32", "fp16", "int8")
OUTPUTS = ("logits", "mask")


@dataclass(frozen=True)
class ExportSettings:
    """What to make.

    Attributes:
        format: one of ``FORMATS``.
        size: (H, W) of the input.
        precision: ``fp32``, ``fp16``, or for OpenVINO ``int8``.
        batch: images at a time; None for any number, which TensorRT does not do.
        output: one of ``OUTPUTS``: logits before the last upsampling, for this package, or class ids of the input's
            size, for other programs; int8 is made with logits only.

    Raises:
        BackendError: a combination that cannot be made.
        ModelError: a size that no network takes.
    """

    format: str
    size: tuple[int, int]
    precision: str = "fp32"
    batch: int | None = None
    output: str = "logits"

    def __post_init__(self):
        for name, value, allowed in (
            ("format", self.format, FORMATS),
            ("precision", self.precision, PRECISIONS),
            ("output", self.output, OUTPUTS),
        ):
            if value not in allowed:
                raise BackendError(f"expected an export {name} of {', '.join(allowed)}, got {value!r}")
        if self.precision == "int8" and self.format != "openvino":
            raise BackendError(f"int8 is made for openvino only, got {self.format}: use fp16 there")
        if self.precision == "int8" and self.output != "logits":
            # Its mIoU is measured through a Segmenter, which takes logits.
            raise BackendError(f"int8 is made with output logits only, got {self.output}: use fp16 there")
        if self.format == "tensorrt" and self.batch is None:
            raise BackendError("a tensorrt engine has a fixed number of images: give a number, such as --batch 1")
        if self.batch is not None and self.batch < 1:
            raise BackendError(f"expected a batch of at least 1, got {self.batch}")
        if min(self.size) < SMALLEST_INPUT:
            raise ModelError(f"expected a size of at least {SMALLEST_INPUT}x{SMALLEST_INPUT}, got {self.size}")

    @property
    def is_cached(self) -> bool:
        """Whether an engine keeps it in its cache, from where it takes it by itself."""
        kept = self.format in ("openvino", "tensorrt") or (self.format == "onnx" and self.batch is None)
        return kept and self.output == "logits"


@dataclass(frozen=True)
class Calibration:
    """Frames that set the ranges of int8.

    Attributes:
        name: where they are from, for the record.
        images: uint8 (H, W, 3), BGR, at the export's size; gone through several times.
        count: how many.
        keep: regular expressions of operators that stay in floating point, by OpenVINO's names.
    """

    name: str
    images: Iterable[np.ndarray]
    count: int
    keep: tuple[str, ...] = quantize.KEEP_FLOATING


Verify = Callable[[Artefact], dict]
"""Looks at an export before it is published: returns figures for its metadata, or raises LsabinetError to stop it."""


def export(
    network: Network,
    settings: ExportSettings,
    path: str | Path | None = None,
    *,
    calibration: Calibration | None = None,
    verify: Verify | None = None,
) -> ExportInfo:
    """Make a file of an engine's format, and leave the same where that engine's backend finds it by itself.

    Args:
        network: what to export.
        settings: format, size, precision and batch.
        path: the file to write, atomically; None only fills the engine cache.
        calibration: needed for int8.
        verify: called before the file takes its name.

    Raises:
        BackendError: a package that the format needs is missing, the suffix is another format's, int8 without
            calibration, nothing to write to, a cache that cannot be written and no ``path``, or what ``verify`` raises.
        OSError: ``path`` cannot be written.
    """
    suffix = SUFFIXES[settings.format]
    if path is not None and Path(path).suffix.lower() != suffix:
        raise BackendError(f"expected {settings.format} to go to a file ending in {suffix}, got {path}")
    if path is None and not settings.is_cached:
        raise BackendError(
            "no engine keeps this in its cache (TorchScript, ONNX of a fixed batch, masks): give the file to write"
        )
    if settings.precision == "int8" and calibration is None:
        raise BackendError("int8 needs frames to calibrate on: give a data set")
    maker = _MAKERS[settings.format](network, settings, calibration)
    info = ExportInfo(
        metadata=network.metadata,
        weights=network.fingerprint,
        size=settings.size,
        batch=settings.batch,
        precision=settings.precision,
        versions={"lsabinet": __version__, "form": str(FORM), "torch": torch.__version__, **maker.versions},
        calibration=maker.calibration,
        output=settings.output,
    )
    with tempfile.TemporaryDirectory() as folder, publishing(path or Path(folder) / f"network{suffix}") as temporary:
        maker.write(temporary, info)
        if verify is not None:
            info = dataclasses.replace(info, parity=verify(open_artefact(temporary)))
            maker.write(temporary, info)
    if settings.is_cached and maker.keep(info) is None and path is None:
        raise BackendError(
            f"nothing was made: the engine cache {cache_directory()} cannot be written; name the file to write, or "
            "another folder in LSABINET_CACHE_DIR"
        )
    forget_choices()
    return info


def check_parity(network: Network, artefact: Artefact, images: Iterable[np.ndarray]) -> Parity:
    """Compare an export with PyTorch in fp32 on images uint8 (H, W, 3), BGR, of its size.

    Raises:
        BackendError: fewer pixels keep their class than ``LEAST_AGREEMENT`` asks for.
    """
    reference = create_backend("torch", device="cpu", precision="fp32")
    reference.load(network)
    candidate = create_backend(engine_for(artefact, "auto"), device="cuda" if artefact.format == "tensorrt" else "cpu")
    try:
        candidate.load(artefact)
        comparison = compare if artefact.info.output == "logits" else compare_masks
        parity = comparison(reference.infer, candidate.infer, images)
    finally:
        candidate.close()
        reference.close()
    least = LEAST_AGREEMENT[artefact.info.precision]
    if not parity.agreement >= least:
        raise BackendError(
            f"the export disagrees with PyTorch: {100 * parity.agreement:.3f} % of the pixels of {parity.images} "
            f"frames have the same class, expected {100 * least:g} %{_of_logits(parity)}. Nothing was written"
        )
    return parity


def _of_logits(parity: Parity) -> str:
    if parity.max_error is None:
        return ""
    return f"; largest error of a logit {parity.max_error:.3g} in a range of {parity.logit_range:.3g}"


class _Maker(ABC):
    """Makes one format; ``write`` may be called again with more metadata, ``keep`` fills the engine cache."""

    versions: dict[str, str] = {}
    calibration: dict = {}

    def __init__(self, network: Network, settings: ExportSettings, calibration: Calibration | None):
        self.network = network
        self.settings = settings
        self.half = settings.precision == "fp16"
        self.make(calibration)

    @abstractmethod
    def make(self, calibration: Calibration | None) -> None:
        """Convert the network."""

    @abstractmethod
    def write(self, path: Path, info: ExportInfo) -> None:
        """Write what was made, with its metadata."""

    def keep(self, info: ExportInfo) -> Path | None:
        """Fill the engine cache, for formats that an engine keeps there; None where it cannot be written."""
        return None


class _OnnxMaker(_Maker):
    def make(self, calibration: Calibration | None) -> None:
        settings = self.settings
        self.content = onnx_.convert(
            self.network, settings.size, batch=settings.batch, half=self.half, output=settings.output
        )

    def write(self, path: Path, info: ExportInfo) -> None:
        path.write_bytes(onnx_.with_info(self.content, info.to_json()))

    def keep(self, info: ExportInfo) -> Path | None:
        from .backends import onnxruntime_

        return onnxruntime_.store_engine(self.network, self.settings.size, self.settings.precision, self.content)


class _OpenVINOMaker(_Maker):
    def make(self, calibration: Calibration | None) -> None:
        self.model: Any = openvino_.convert(self.network, self.settings.size, output=self.settings.output)
        self.versions = {"openvino": openvino_.import_openvino().get_version()}
        if calibration is not None and self.settings.precision == "int8":
            self.model = quantize.quantize(self.model, calibration.images, calibration.count, calibration.keep)
            self.calibration = {
                "frames": calibration.name,
                "count": calibration.count,
                "keep": list(calibration.keep),
                "floating_layers": quantize.floating_layers(self.model),
            }

    def write(self, path: Path, info: ExportInfo) -> None:
        model = self.model
        if self.settings.batch is not None:
            model = model.clone()
            model.reshape([self.settings.batch, *self.settings.size, 3])
        openvino_.save(model, path, half=self.half, info=info.to_json())

    def keep(self, info: ExportInfo) -> Path | None:
        from .backends import openvino_ as backend

        size, precision = self.settings.size, self.settings.precision
        kept = backend.store_engine(self.network, size, precision, self.model, info=info.to_json())
        if kept is not None and precision != "int8":
            # What it is compiled to is kept as well, so that frames need not wait for that either.
            engine = create_backend("openvino", precision=precision)
            engine.load(self.network)
            try:
                engine.prepare(size, self.settings.batch or 1)
            except BackendError as error:
                # The export may be for another machine.
                log.warning("the engine cache has no compiled form: %s", error)
            finally:
                engine.close()
        return kept


class _TorchScriptMaker(_Maker):
    def make(self, calibration: Calibration | None) -> None:
        dtype = torch.float16 if self.half else torch.float32
        deployed = static_network(self.network.model, self.network.metadata, self.settings.output, dtype)
        self.script = torchscript.trace(deployed, self.settings.batch or 1, self.settings.size)

    def write(self, path: Path, info: ExportInfo) -> None:
        torchscript.save(self.script, path, info.to_json())


class _TensorRTMaker(_Maker):
    def make(self, calibration: Calibration | None) -> None:
        settings = self.settings
        self.versions = {"tensorrt": tensorrt_.import_tensorrt().__version__}
        content = onnx_.convert(
            self.network, settings.size, batch=settings.batch, half=self.half, output=settings.output
        )
        self.content = tensorrt_.build(content, batch=settings.batch, size=settings.size)

    def write(self, path: Path, info: ExportInfo) -> None:
        path.write_bytes(self.content)
        write_text(path.with_name(path.name + ".json"), info.to_json())

    def keep(self, info: ExportInfo) -> Path | None:
        from .backends import tensorrt_ as backend

        return backend.store_engine(
            self.network, self.settings.size, self.settings.batch, self.settings.precision, self.content
        )


_MAKERS = {
    "onnx": _OnnxMaker,
    "openvino": _OpenVINOMaker,
    "torchscript": _TorchScriptMaker,
    "tensorrt": _TensorRTMaker,
}
