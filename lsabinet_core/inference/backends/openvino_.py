"""OpenVINO on the CPU."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsabinet_core.cores import visible_cores
from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import EngineCache, EngineKey
from lsabinet_core.inference.convert import openvino_
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.parity import Infer

from .base import NotExportedError
from .choose import choose_cpu
from .openvino_kernels import REWRITES, prefer_fast_kernels
from .openvino_winograd import use_winograd
from .shaped import ShapedBackend
from .shapes import Images, Run, Shape, Size

FILE = "network.xml"
COMPILED = "network.blob"


class OpenVINOBackend(ShapedBackend):
    """Compiles the network for the processor in about two seconds; conversion and compilation are cached on disk.

    Args:
        device: ``auto`` or ``cpu``.
        precision: ``auto`` (fp32), ``fp32``, ``fp16`` (weights stored as fp16, computed in fp32), ``bf16``
            (if the processor supports it), or ``int8``, which requires ``lsabinet export --precision int8`` first; its
            floating-point layers run in bf16 if the processor supports it, else in fp32.
        threads: maximum number of threads; 0 uses all cores.

    Raises:
        BackendError: OpenVINO is not installed, or does not support the device or precision.
    """

    name = "openvino"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_cpu(device, self.name), precision, threads, ("fp32", "fp16", "bf16", "int8"))
        self._openvino = openvino_.import_openvino()
        self._core = openvino_.shared_core()
        # Filled by builds, which may run on a copy of this object.
        self._parity: dict = {}
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendError("precision 'bf16': this processor has no bf16 instructions; use fp32")

    def load(self, source: Network | Artefact) -> None:
        super().load(source)
        self._parity = {}

    def check_size(self, size: Size) -> None:
        super().check_size(size)
        if self.precision != "int8" or isinstance(self.source, Artefact):
            return
        if EngineCache().find(engine_key(self.loaded_network, size, "int8")) is None:
            raise self._no_int8_form(size)

    @staticmethod
    def _no_int8_form(size: Size) -> NotExportedError:
        return NotExportedError(
            f"no int8 model of these weights for {size[0]}x{size[1]}: create it once with `lsabinet export --to "
            f"openvino --precision int8 --size {size[0]}x{size[1]} --weights W --frames DRIVE` (DRIVE: a folder of "
            "images, a video or a bag)"
        )

    def exported_sizes(self) -> list[Size]:
        if self.precision != "int8" or isinstance(self.source, Artefact):
            return []
        return EngineCache().sizes(engine_key(self.loaded_network, self.loaded_network.size, "int8"))

    def is_built(self, shape: Shape) -> bool:
        if self.shapes.is_built(shape):
            return True
        if isinstance(self.source, Artefact) or self.precision == "int8":
            return False
        return EngineCache().find(compiled_key(self.loaded_network, shape, self.precision, self._core)) is not None

    def _build(self, shape: Shape) -> Run:
        compiled = self._compiled(shape)
        request = compiled.create_infer_request()
        logits = torch.from_numpy(request.get_output_tensor(0).data)
        tensor_type = self._openvino.Tensor

        def run(images: Images) -> torch.Tensor:
            request.set_input_tensor(0, tensor_type(np.asarray(images), shared_memory=True))
            request.infer()
            return logits

        return Run(run)

    def _compiled(self, shape: Shape) -> Any:
        if isinstance(self.source, Artefact) or self.precision == "int8":
            # The int8 model may be re-exported for the same weights, so its compiled blob is not cached.
            return self._compile(shape)
        return EngineCache().load_or_build(
            compiled_key(self.loaded_network, shape, self.precision, self._core),
            load=lambda folder: self._core.import_model((folder / COMPILED).read_bytes(), "CPU", self._settings()),
            build=lambda: self._compile(shape),
            store=lambda compiled, folder: (folder / COMPILED).write_bytes(compiled.export_model().getvalue()),
        )

    def compile_counting(self, shape: Shape):
        """Compile the network for that shape as ``infer`` does, but as an ``openvino.CompiledModel`` that also records
        the time of each operator. Raises BackendError if the network cannot be compiled."""
        return self._compile(shape, {"PERF_COUNT": True})

    def _compile(self, shape: Shape, more_settings: dict | None = None):
        model = self._read(shape[1:])
        model.reshape([*shape, 3])
        prefer_fast_kernels(model)
        use_winograd(model)
        try:
            return self._core.compile_model(model, "CPU", {**self._settings(), **(more_settings or {})})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BackendError(
                f"{self._engine()} cannot compile the network for {shape[1]}x{shape[2]} ({reason}); use backend torch"
            ) from error

    def _settings(self) -> dict:
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if self.precision != "int8":
            # The default is bf16 on processors that support it, which is kept for the layers that int8 leaves in
            # floating point: it is faster, and costs less accuracy than the int8 layers do.
            settings["INFERENCE_PRECISION_HINT"] = "bf16" if self.precision == "bf16" else "f32"
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
            # Otherwise the pinned threads of all programs and containers would compete for the first cores.
            settings["ENABLE_CPU_PINNING"] = self.threads >= visible_cores()
        return settings

    def _read(self, size: Size) -> Any:
        if isinstance(self.source, Artefact):
            self._parity.update(self.source.info.parity)
            if self.source.format == "onnx":
                return self._core.read_model(self.source.path)
            return openvino_.load(self.source.path)
        if self.precision == "int8":
            key = engine_key(self.loaded_network, size, "int8")
            model = EngineCache().load(key, lambda folder: openvino_.load(folder / FILE))
            if model is None:
                raise self._no_int8_form(size)
            info = openvino_.info_of(model)
            self._parity.update(json.loads(info)["parity"] if info else {})
            return model
        precision = "fp32" if self.precision == "bf16" else self.precision

        def build() -> Any:
            model = openvino_.convert(self.loaded_network, size)
            return openvino_.rounded_to_half(model) if precision == "fp16" else model

        return EngineCache().load_or_build(
            engine_key(self.loaded_network, size, precision),
            load=lambda folder: openvino_.load(folder / FILE),
            build=build,
            store=lambda model, folder: openvino_.save(model, folder / FILE, half=precision == "fp16"),
        )

    def describe(self) -> dict:
        """Like ``Backend.describe``, plus ``miou_loss`` (0..1) of int8 if ``lsabinet export --verify`` measured it."""
        if "miou_int8" not in self._parity:
            return super().describe()
        return {**super().describe(), "miou_loss": self._parity["miou_fp32"] - self._parity["miou_int8"]}

    def _engine(self) -> str:
        return f"OpenVINO {self._openvino.get_version()}"


def run_by_defaults(path: Path) -> tuple[str, Infer] | None:
    """Run an exported model with OpenVINO's default settings: returns the precision, and a function for any number of
    images; None if that precision is fp32, that of the exported model."""
    core = openvino_.shared_core()
    compiled = core.compile_model(openvino_.load(path), "CPU")
    name: str = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    precision = {"f32": "fp32", "f16": "fp16"}.get(name, name)
    if precision == "fp32":
        return None
    request = compiled.create_infer_request()
    return precision, lambda images: torch.from_numpy(request.infer([images])[0])


def engine_key(network: Network, size: Size, precision: str) -> EngineKey:
    """The cache key of a network's OpenVINO model, which is the same for every processor and number of images."""
    version = f"OpenVINO {openvino_.import_openvino().get_version()}, form {FORM}"
    exported = precision == "int8"
    return EngineKey("openvino", network.fingerprint, (size[0], size[1]), None, precision, "cpu", version, exported)


def compiled_key(network: Network, shape: Shape, precision: str, core: Any) -> EngineKey:
    """The cache key of a network that is compiled for this processor and for (N, H, W)."""
    capabilities = ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    processor = f"{core.get_property('CPU', 'FULL_DEVICE_NAME')} ({capabilities})"
    key = engine_key(network, shape[1:], precision)
    version = f"{key.version}, rewrites {REWRITES}"
    return dataclasses.replace(key, engine="openvino-compiled", batch=shape[0], device=processor, version=version)


def store_engine(network: Network, size: Size, precision: str, model: Any, *, info: str | None) -> Path | None:
    """Store an OpenVINO model made by ``lsabinet export`` in the backend's cache; returns the result of
    ``EngineCache.store``."""
    return EngineCache().store(
        engine_key(network, size, precision),
        lambda folder: openvino_.save(model, folder / FILE, half=precision == "fp16", info=info),
    )
