"""OpenVINO on the CPU."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from lsabinet_core.cores import usable_cores
from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import EngineCache, EngineKey
from lsabinet_core.inference.convert import openvino_
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network

from .common import NotExportedError, Run, ShapedBackend, choose_cpu
from .openvino_kernels import REWRITES, prefer_fast_kernels
from .openvino_winograd import use_winograd

FILE = "network.xml"
COMPILED = "network.blob"


class OpenVINOBackend(ShapedBackend):
    """Compiles the network for the processor within two seconds; that and the conversion before it are kept on disk.

    Args:
        device: ``auto`` or ``cpu``.
        precision: ``auto`` (fp32), ``fp32``, ``fp16`` (numbers stored in half the space, computed in fp32), ``bf16``
            (where the processor has it), or ``int8``, which ``lsabinet export --precision int8`` has to make first.
        threads: most threads; 0 takes all cores.

    Raises:
        BackendError: OpenVINO is not installed, or a device or precision that it does not offer.
    """

    name = "openvino"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_cpu(device, self.name), precision, threads, ("fp32", "fp16", "bf16", "int8"))
        self._openvino = openvino_.import_openvino()
        self._core = openvino_.shared_core()
        self._parity: dict = {}
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendError("precision 'bf16': this processor has no bf16 instructions; use fp32")

    def check_size(self, size: tuple[int, int]) -> None:
        super().check_size(size)
        if self.precision == "int8" and not isinstance(self.source, Artefact):
            # What `lsabinet export` made.
            if EngineCache().find(engine_key(self.source, size, "int8")) is None:
                raise self._no_int8_form(size)

    @staticmethod
    def _no_int8_form(size: tuple[int, int]) -> NotExportedError:
        return NotExportedError(
            f"no int8 form of these weights for {size[0]}x{size[1]}: make it once with `lsabinet export --to "
            f"openvino --precision int8 --size {size[0]}x{size[1]} --weights W --dataset D --root DIR`"
        )

    def exported_sizes(self) -> list[tuple[int, int]]:
        if self.precision != "int8" or isinstance(self.source, Artefact):
            return []
        return EngineCache().sizes(engine_key(self.source, self.source.size, "int8"))

    def is_built(self, shape: tuple[int, int, int]) -> bool:
        if shape in self._runs:
            return True
        if isinstance(self.source, Artefact) or self.precision == "int8":
            return False
        return EngineCache().find(compiled_key(self.source, shape, self.precision, self._core)) is not None

    def _build(self, shape: tuple[int, int, int]) -> Run:
        compiled = self._compiled(shape)
        request = compiled.create_infer_request()
        logits = torch.from_numpy(request.get_output_tensor(0).data)
        tensor_type = self._openvino.Tensor

        def run(images: np.ndarray) -> torch.Tensor:
            request.set_input_tensor(0, tensor_type(images, shared_memory=True))
            request.infer()
            return logits

        return run

    def _compiled(self, shape: tuple[int, int, int]):
        if isinstance(self.source, Artefact) or self.precision == "int8":
            # Of the same weights there may be another one tomorrow.
            return self._compile(shape)
        return EngineCache().load_or_build(
            compiled_key(self.source, shape, self.precision, self._core),
            load=lambda folder: self._core.import_model((folder / COMPILED).read_bytes(), "CPU", self._settings()),
            build=lambda: self._compile(shape),
            store=lambda compiled, folder: (folder / COMPILED).write_bytes(compiled.export_model().getvalue()),
        )

    def _compile(self, shape: tuple[int, int, int]):
        model = self._read(shape[1:])
        model.reshape([*shape, 3])
        prefer_fast_kernels(model)
        use_winograd(model)
        try:
            return self._core.compile_model(model, "CPU", self._settings())
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BackendError(
                f"{self._engine()} cannot compile the network for {shape[1]}x{shape[2]} ({reason}); use backend torch"
            ) from error

    def _settings(self) -> dict:
        settings = {
            # The default takes bf16 where the processor has it.
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
            # Otherwise every program's threads go to the first cores, and leave the others idle.
            settings["ENABLE_CPU_PINNING"] = self.threads >= usable_cores()
        return settings

    def _read(self, size: tuple[int, int]):
        if isinstance(self.source, Artefact):
            self._parity = self.source.info.parity
            if self.source.format == "onnx":
                return self._core.read_model(self.source.path)
            return openvino_.load(self.source.path)
        if self.precision == "int8":
            key = engine_key(self.source, size, "int8")
            model = EngineCache().load(key, lambda folder: openvino_.load(folder / FILE))
            if model is None:
                raise self._no_int8_form(size)
            info = openvino_.info_of(model)
            self._parity = json.loads(info)["parity"] if info else {}
            return model
        precision = "fp32" if self.precision == "bf16" else self.precision

        def build():
            model = openvino_.convert(self.source, size)
            return openvino_.rounded_to_half(model) if precision == "fp16" else model

        return EngineCache().load_or_build(
            engine_key(self.source, size, precision),
            load=lambda folder: openvino_.load(folder / FILE),
            build=build,
            store=lambda model, folder: openvino_.save(model, folder / FILE, half=precision == "fp16"),
        )

    def describe(self) -> dict:
        """Also ``miou_loss`` (0..1) of int8, where ``lsabinet export --verify`` measured it."""
        if "miou_int8" not in self._parity:
            return super().describe()
        return {**super().describe(), "miou_loss": self._parity["miou_fp32"] - self._parity["miou_int8"]}

    def _engine(self) -> str:
        return f"OpenVINO {self._openvino.get_version()}"


def engine_key(network: Network, size: tuple[int, int], precision: str) -> EngineKey:
    """Where OpenVINO's form of a network is kept: the same for every processor and number of images."""
    version = f"OpenVINO {openvino_.import_openvino().get_version()}, form {FORM}"
    exported = precision == "int8"
    return EngineKey("openvino", network.fingerprint, tuple(size), None, precision, "cpu", version, exported)


def compiled_key(network: Network, shape: tuple[int, int, int], precision: str, core) -> EngineKey:
    """Where a network that was compiled for this processor and for (N, H, W) is kept."""
    capabilities = ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    processor = f"{core.get_property('CPU', 'FULL_DEVICE_NAME')} ({capabilities})"
    key = engine_key(network, shape[1:], precision)
    version = f"{key.version}, rewrites {REWRITES}"
    return dataclasses.replace(key, engine="openvino-compiled", batch=shape[0], device=processor, version=version)


def store_engine(network: Network, size: tuple[int, int], precision: str, model, *, info: str | None) -> Path | None:
    """Keep a form that was made elsewhere (``lsabinet export``) where the backend looks for it; as
    ``EngineCache.store``."""
    return EngineCache().store(
        engine_key(network, size, precision),
        lambda folder: openvino_.save(model, folder / FILE, half=precision == "fp16", info=info),
    )
