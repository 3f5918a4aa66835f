"""Exports networks to files for other machines and programs, and checks them before they are published."""

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
from lsabinet_core.models.limits import SMALLEST_INPUT

from .artefact import SUFFIXES, Artefact, ExportInfo, open_artefact, publishing
from .backends import create_backend, engine_for
from .backends.choices import forget_choices
from .cache import cache_directory
from .convert import onnx_, openvino_, quantize, tensorrt_, torchscript
from .deploy import FORM, network_for_files
from .network import Network
from .parity import MIN_AGREEMENT, Infer, Parity, compare, compare_masks, make_picture

log = logging.getLogger(__name__)

FORMATS = tuple(SUFFIXES)
PRECISIONS = ("fp32", "fp16", "int8")
OUTPUTS = ("logits", "mask")

_FIXED_SIZE = {
    "int8": "int8 ranges are calibrated at one size",
    "torchscript": "a torchscript trace has the size as a constant",
    "tensorrt": "a tensorrt engine is tuned for one size",
}
"""Why a precision or format cannot be exported for any size."""

SIZES_TO_CHECK = ((96, 128), (97, 131), (131, 102))
MIN_AGREEMENT_AT_A_SIZE = 0.9
"""Minimum share of pixels with the same class on a synthetic image; a wrong shape counts as no agreement."""


@dataclass(frozen=True)
class ExportSettings:
    """The settings of an export.

    Attributes:
        format: one of ``FORMATS``.
        size: (H, W) of the input; None for any, which ONNX and OpenVINO support in fp32 and fp16.
        precision: ``fp32``, ``fp16``, or for OpenVINO ``int8``.
        batch: images per call; None for any number, which TensorRT does not support.
        output: one of ``OUTPUTS``: logits before the final upsampling, for this package, or class ids at the input's
            size, for other programs.

    Raises:
        BackendError: the combination is not supported.
        ModelError: the size is too small for the networks.
    """

    format: str
    size: tuple[int, int] | None
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
            raise BackendError(f"int8 is supported for openvino only, got {self.format}: use fp16")
        if self.format == "tensorrt" and self.batch is None:
            raise BackendError("a tensorrt engine has a fixed number of images: give a number, such as --batch 1")
        if self.batch is not None and self.batch < 1:
            raise BackendError(f"expected a batch of at least 1, got {self.batch}")
        if self.size is None and (reason := _FIXED_SIZE.get(self.precision) or _FIXED_SIZE.get(self.format)):
            raise BackendError(f"{reason}: give a size, such as --size 360x480")
        if self.size is not None and min(self.size) < SMALLEST_INPUT:
            raise ModelError(f"expected a size of at least {SMALLEST_INPUT}x{SMALLEST_INPUT}, got {self.size}")

    @property
    def is_cached(self) -> bool:
        """Whether an engine finds this export in its cache."""
        kept = self.format in ("openvino", "tensorrt") or (self.format == "onnx" and self.batch is None)
        return kept and self.output == "logits" and self.size is not None


@dataclass(frozen=True)
class Calibration:
    """Frames that determine the ranges of int8.

    Attributes:
        name: origin of the frames, for the metadata.
        images: uint8 (H, W, 3), BGR, at the export's size; iterated over several times.
        count: the number of images.
        keep: regular expressions for OpenVINO's names of operators that stay in floating point.
    """

    name: str
    images: Iterable[np.ndarray]
    count: int
    keep: tuple[str, ...] = quantize.KEEP_FLOATING


Verify = Callable[[Artefact], dict]
"""Checks an export before it is published: returns figures for its metadata, or raises LsabinetError to cancel it."""


def export(
    network: Network,
    settings: ExportSettings,
    path: str | Path | None = None,
    *,
    calibration: Calibration | None = None,
    verify: Verify | None = None,
) -> ExportInfo:
    """Write a file in an engine's format, and store the same model in the engine cache, where its backend finds it.

    Args:
        network: the network to export.
        settings: format, size, precision and batch.
        path: output file, written atomically; None only fills the engine cache.
        calibration: required for int8.
        verify: called before the file gets its final name.

    Raises:
        BackendError: a required package is missing, the suffix belongs to another format, int8 has no calibration, the
            network cannot be exported for any size, ``path`` is missing although no engine caches the export or the
            cache cannot be written, or ``verify`` raises it.
        OSError: ``path`` cannot be written.
    """
    suffix = SUFFIXES[settings.format]
    if path is not None and Path(path).suffix.lower() != suffix:
        raise BackendError(f"expected {settings.format} output in a file ending in {suffix}, got {path}")
    if path is None and not settings.is_cached:
        raise BackendError(
            "no engine caches this export (TorchScript, ONNX of a fixed batch, masks, any size): give the file to write"
        )
    if settings.precision == "int8" and calibration is None:
        raise BackendError("int8 needs calibration frames: give a data set")
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
        if settings.size is None:
            _check_sizes(network, open_artefact(temporary))
        if verify is not None:
            info = dataclasses.replace(info, parity=verify(open_artefact(temporary)))
            maker.write(temporary, info)
    if settings.is_cached and maker.keep(info) is None and path is None:
        raise BackendError(
            f"nothing was exported: the engine cache {cache_directory()} cannot be written; give an output file, or "
            "another folder in LSABINET_CACHE_DIR"
        )
    forget_choices()
    return info


def _check_sizes(network: Network, artefact: Artefact) -> None:
    """Raise BackendError unless an export for any size agrees with the network at several sizes: converters may
    silently turn values that depend on the size into constants."""
    candidate = create_backend(engine_for(artefact, "auto"), device="cpu")
    try:
        candidate.load(artefact)
        for size in SIZES_TO_CHECK:
            try:
                parity = _compare(network, artefact, candidate.infer, [make_picture(size)])
                fault = None if parity.agreement >= MIN_AGREEMENT_AT_A_SIZE else "disagrees with PyTorch"
            except Exception as error:  # noqa: BLE001 - engines raise classes of their own
                fault = f"fails ({(str(error).strip().splitlines() or [type(error).__name__])[-1]})"
            if fault is not None:
                raise BackendError(
                    f"network {network.metadata.architecture!r} cannot be exported to {artefact.format} for any size: "
                    f"the result {fault} at {size[0]}x{size[1]}; give a size like --size 360x480. Nothing was written"
                )
    finally:
        candidate.close()


def check_parity(network: Network, artefact: Artefact, images: Iterable[np.ndarray]) -> Parity:
    """Compare an exported model, in its own precision, with PyTorch in fp32.

    Args:
        images: uint8 (H, W, 3), BGR, of the model's size.

    Raises:
        BackendError: fewer pixels keep their class than ``MIN_AGREEMENT`` requires.
    """
    candidate = create_backend(engine_for(artefact, "auto"), device="cuda" if artefact.format == "tensorrt" else "cpu")
    try:
        candidate.load(artefact)
        parity = _compare(network, artefact, candidate.infer, images)
    finally:
        candidate.close()
    least = MIN_AGREEMENT[artefact.info.precision]
    if not parity.agreement >= least:
        raise BackendError(
            f"the export disagrees with PyTorch: {100 * parity.agreement:.3f} % of the pixels of {parity.images} "
            f"frames have the same class, expected {100 * least:g} %{_of_logits(parity)}. Nothing was written"
        )
    return parity


def parity_by_defaults(network: Network, artefact: Artefact, images: Iterable[np.ndarray]) -> tuple[str, Parity] | None:
    """The precision and parity of an exported fp32 or fp16 model under its engine's default settings, without a limit.

    OpenVINO computes in bf16 on processors that support it, whatever the file contains (2026.4). None for other
    processors and for the other engines, which run in the exported model's precision by default.
    """
    if artefact.format != "openvino":
        return None
    from .backends.openvino_ import run_by_defaults

    found = run_by_defaults(artefact.path)
    return None if found is None else (found[0], _compare(network, artefact, found[1], images))


def _compare(network: Network, artefact: Artefact, infer: Infer, images: Iterable[np.ndarray]) -> Parity:
    reference = create_backend("torch", device="cpu", precision="fp32")
    try:
        reference.load(network)
        return (compare if artefact.info.output == "logits" else compare_masks)(reference.infer, infer, images)
    finally:
        reference.close()


def _of_logits(parity: Parity) -> str:
    if parity.max_error is None:
        return ""
    return f"; largest error of a logit {parity.max_error:.3g} in a range of {parity.logit_range:.3g}"


class _Maker(ABC):
    """Exports to one format; ``write`` may be called again with more metadata, ``keep`` fills the engine cache."""

    def __init__(self, network: Network, settings: ExportSettings, calibration: Calibration | None):
        self.network = network
        self.settings = settings
        self.half = settings.precision == "fp16"
        self.versions: dict[str, str] = {}
        self.calibration: dict[str, Any] = {}
        self.make(calibration)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), for formats and cached engines that need one size, which ``ExportSettings`` ensures."""
        assert self.settings.size is not None
        return self.settings.size

    @abstractmethod
    def make(self, calibration: Calibration | None) -> None:
        """Convert the network."""

    @abstractmethod
    def write(self, path: Path, info: ExportInfo) -> None:
        """Write the converted network with its metadata."""

    def keep(self, info: ExportInfo) -> Path | None:
        """Store the network in the engine cache, for formats that are cached; None if the cache cannot be written."""
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

        return onnxruntime_.store_engine(self.network, self.size, self.settings.precision, self.content)


class _OpenVINOMaker(_Maker):
    def make(self, calibration: Calibration | None) -> None:
        int8, settings = self.settings.precision == "int8", self.settings
        self.model: Any = openvino_.convert(self.network, settings.size, output="logits" if int8 else settings.output)
        self.versions = {"openvino": openvino_.import_openvino().get_version()}
        if calibration is not None and int8:
            self.model = quantize.quantize(self.model, calibration.images, calibration.count, calibration.keep)
            self.calibration = {
                "frames": calibration.name,
                "count": calibration.count,
                "keep": list(calibration.keep),
                "floating_layers": quantize.floating_layers(self.model),
            }
            if settings.output == "mask":
                # Appended after quantisation, so that the classes follow from the int8 logits.
                self.model = openvino_.with_masks(self.model, self.size)

    def write(self, path: Path, info: ExportInfo) -> None:
        model = self.model
        if self.settings.batch is not None:
            model = model.clone()
            model.reshape([self.settings.batch, *(self.settings.size or (-1, -1)), 3])
        openvino_.save(model, path, half=self.half, info=info.to_json())

    def keep(self, info: ExportInfo) -> Path | None:
        from .backends import openvino_ as backend

        size, precision = self.size, self.settings.precision
        kept = backend.store_engine(self.network, size, precision, self.model, info=info.to_json())
        if kept is not None and precision != "int8":
            # The compiled network is stored as well, so that frames do not wait for the compilation.
            engine = create_backend("openvino", precision=precision)
            engine.load(self.network)
            try:
                engine.prepare(size, self.settings.batch or 1)
            except BackendError as error:
                # The export may be for another machine.
                log.warning("the engine cache has no compiled network: %s", error)
            finally:
                engine.close()
        return kept


class _TorchScriptMaker(_Maker):
    def make(self, calibration: Calibration | None) -> None:
        dtype = torch.float16 if self.half else torch.float32
        deployed = network_for_files(self.network.model, self.network.metadata, self.settings.output, dtype)
        self.script = torchscript.trace(deployed, self.settings.batch or 1, self.size)

    def write(self, path: Path, info: ExportInfo) -> None:
        torchscript.save(self.script, path, info.to_json())


class _TensorRTMaker(_Maker):
    @property
    def batch(self) -> int:
        assert self.settings.batch is not None, "ExportSettings requires it"
        return self.settings.batch

    def make(self, calibration: Calibration | None) -> None:
        settings = self.settings
        self.versions = {"tensorrt": tensorrt_.import_tensorrt().__version__}
        content = onnx_.convert(
            self.network, settings.size, batch=settings.batch, half=self.half, output=settings.output
        )
        self.content = tensorrt_.build(content, batch=self.batch, size=self.size)

    def write(self, path: Path, info: ExportInfo) -> None:
        path.write_bytes(self.content)
        write_text(path.with_name(path.name + ".json"), info.to_json())

    def keep(self, info: ExportInfo) -> Path | None:
        from .backends import tensorrt_ as backend

        return backend.store_engine(self.network, self.size, self.batch, self.settings.precision, self.content)


_MAKERS = {
    "onnx": _OnnxMaker,
    "openvino": _OpenVINOMaker,
    "torchscript": _TorchScriptMaker,
    "tensorrt": _TensorRTMaker,
}
