"""ONNX Runtime with its CPU, CUDA and TensorRT providers."""

import logging
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import EngineCache, EngineKey, cache_directory, others_may_write
from lsabinet_core.inference.convert import onnx_, tensorrt_
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.optional import require

from .choices import forget_choices
from .choose import choose_cuda, choose_device, device_name
from .shaped import ShapedBackend, output_of
from .shapes import Images, Run, Shape, Size
from .transfer import PinnedUpload

log = logging.getLogger(__name__)

FILE = "network.onnx"


class OnnxRuntimeBackend(ShapedBackend):
    """Runs the network as an ONNX model. The conversion takes up to a minute once and is then cached on disk.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32`` or ``fp16``.
        threads: maximum number of CPU threads; 0 uses all cores.

    Raises:
        BackendError: ONNX Runtime is not installed or lacks the device's provider, or the precision is unknown.
    """

    name = "onnxruntime"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(self._choose(device), precision, threads, ("fp32", "fp16"))
        self._onnxruntime = require("onnxruntime", f"backend {self.name}")
        self._provider = self._provider_name()
        if self._provider not in self._onnxruntime.get_available_providers():
            raise BackendError(
                f"the onnxruntime installed here has no {self._provider}: pip install onnxruntime-gpu instead of "
                "onnxruntime, or use device cpu"
            )

    def _choose(self, device: str) -> torch.device:
        return choose_device(device)

    def _provider_name(self) -> str:
        return "CPUExecutionProvider" if self.device.type == "cpu" else "CUDAExecutionProvider"

    def _provider_options(self) -> dict[str, str]:
        # The default would compute fp32 in TF32.
        return {} if self.device.type == "cpu" else {"device_id": self._device_id, "use_tf32": "0"}

    @property
    def _device_id(self) -> str:
        return str(self.device.index or 0)

    def builds_quickly(self, size: Size) -> bool:
        return isinstance(self.source, Artefact) or EngineCache().find(self._key(size)) is not None

    def _key(self, size: Size) -> EngineKey:
        return engine_key(self.loaded_network, size, self.precision)

    def _build(self, shape: Shape) -> Run:
        session = self._session(shape[1:])
        if session.get_providers()[0] != self._provider:
            # ONNX Runtime only prints a message and falls back to the CPU.
            raise BackendError(f"onnxruntime could not start its {self._provider}: see its message on stderr")
        return self._run_on_cpu(session) if self.device.type == "cpu" else self._run_on_cuda(session, shape)

    def _session(self, size: Size) -> Any:
        if isinstance(self.source, Artefact):
            return self._open(self.source.path.read_bytes())

        def build() -> bytes:
            content = onnx_.convert(self.loaded_network, size, half=self.precision == "fp16")
            forget_choices()
            return content

        content = EngineCache().load_or_build(
            self._key(size),
            load=lambda folder: (folder / FILE).read_bytes(),
            build=build,
            store=lambda content, folder: (folder / FILE).write_bytes(content),
        )
        return self._open(content)

    def _open(self, content: bytes) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that spin while they wait for the next frame would take cores from everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        return self._onnxruntime.InferenceSession(content, options, providers=self._providers())

    def _providers(self) -> list[tuple[str, dict[str, str]]]:
        """The chosen provider, followed by the providers of operators that it does not support."""
        providers = [(self._provider, self._provider_options())]
        if self.device.type != "cpu":
            providers.append(("CPUExecutionProvider", {}))
        return providers

    @staticmethod
    def _run_on_cpu(session: Any) -> Run:
        def run(images: Images) -> torch.Tensor:
            return torch.from_numpy(session.run(None, {"images": np.asarray(images)})[0])

        return Run(run)

    def _run_on_cuda(self, session: Any, shape: Shape) -> Run:
        index = self.device.index or 0
        upload = PinnedUpload(self.device)
        images = torch.empty(*shape, 3, dtype=torch.uint8, device=self.device)
        (output,) = session.get_outputs()
        name, dtype = output_of(self.loaded)
        sides = output.shape[1:]
        if not all(isinstance(side, int) for side in sides):
            # A model exported for any size has symbolic dimensions there.
            sides = session.run([name], {"images": np.zeros((*shape, 3), np.uint8)})[0].shape[1:]
        result = torch.empty(shape[0], *sides, dtype=dtype, device=self.device)
        binding = session.io_binding()
        binding.bind_input("images", "cuda", index, np.uint8, tuple(images.shape), images.data_ptr())
        element = np.float32 if dtype == torch.float32 else np.uint8
        binding.bind_output(name, "cuda", index, element, tuple(result.shape), result.data_ptr())

        def run(frames: Images) -> torch.Tensor:
            upload(frames, out=images)
            # The session runs in its own stream.
            torch.cuda.current_stream(self.device).synchronize()
            session.run_with_iobinding(binding)
            return result

        # On the first images cuDNN searches for its fastest kernels, and TensorRT builds its engine.
        run(np.zeros((*shape, 3), np.uint8))
        return Run(run, network_alone=lambda: session.run_with_iobinding(binding))

    def _engine(self) -> str:
        return f"ONNX Runtime {self._onnxruntime.__version__}, {self._provider}"


class OnnxRuntimeTensorRTBackend(OnnxRuntimeBackend):
    """ONNX Runtime's TensorRT provider; TensorRT builds each shape once, which takes minutes, and caches it on disk."""

    name = "onnxruntime-tensorrt"
    slow = True

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(device, precision, threads)
        # ONNX Runtime lists the provider even without TensorRT; importing TensorRT also makes its libraries available.
        tensorrt_.import_tensorrt()

    def _choose(self, device: str) -> torch.device:
        return choose_cuda(device, self.name)

    def _provider_name(self) -> str:
        return "TensorrtExecutionProvider"

    def _folder(self, size: Size) -> Path:
        """The provider's engine folder; one per network, because the file names do not depend on the weights."""
        source = self.loaded
        weights = source.info.weights if isinstance(source, Artefact) else source.fingerprint
        key = EngineKey(self.name, weights, (size[0], size[1]), None, self.precision, device_name(self.device), "")
        version = f"{self._onnxruntime.__version__}-{FORM}"
        return cache_directory() / self.name / f"{key.folder}-{version}"

    def _build(self, shape: Shape) -> Run:
        self._engines = self._folder(shape[1:])
        self._engines.mkdir(parents=True, exist_ok=True)
        if (reason := _refusal(self._engines)) is not None:
            # Compiled engines are code, and the provider would run them.
            raise BackendError(f"backend {self.name!r} uses no engines from this cache, because {reason}")
        was_built = self.builds_quickly(shape[1:])
        try:
            run = super()._build(shape)
        except BackendError:
            raise
        except Exception as error:
            if not was_built:
                raise
            # For example a truncated file: ONNX Runtime does not rebuild engines that it cannot read.
            log.warning("cached engine %s cannot be used (%s): rebuilding it", self._engines.name, error)
            run = self._build_anew(shape)
            was_built = False
        if not was_built:
            forget_choices()
        return run

    def _build_anew(self, shape: Shape) -> Run:
        """Build without the existing engines; put them back if that fails as well, because they were not the cause."""
        aside = self._engines.with_name(f"{self._engines.name}.{uuid.uuid4().hex}")
        self._engines.rename(aside)
        try:
            self._engines.mkdir()
            run = super()._build(shape)
        except BaseException:
            shutil.rmtree(self._engines, ignore_errors=True)
            aside.rename(self._engines)
            raise
        shutil.rmtree(aside, ignore_errors=True)
        return run

    def _provider_options(self) -> dict[str, str]:
        return {
            "device_id": self._device_id,
            # Every operator computes in its type in the ONNX model, because some are inaccurate in fp16.
            "trt_fp16_enable": "False",
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(self._engines),
        }

    def _providers(self) -> list[tuple[str, dict[str, str]]]:
        chosen, *others = super()._providers()
        # Unsupported operators stay on the GPU: on the CPU they would cost a transfer in each direction per frame.
        return [chosen, ("CUDAExecutionProvider", super()._provider_options()), *others]

    def builds_quickly(self, size: Size) -> bool:
        folder = self._folder(size)
        return any(folder.glob("*.engine")) and _refusal(folder) is None

    def is_built(self, shape: Shape) -> bool:
        # Loading even a cached engine takes too long while a frame waits.
        return self.shapes.is_built(shape)

    def _fallback(self, shape: Shape) -> Run:
        backend = OnnxRuntimeBackend(str(self.device), self.precision, self.threads)
        backend.load(self.loaded)
        return backend.build(shape)


def _refusal(folder: Path) -> str | None:
    """The reason why the provider's cached engines in a folder must not be used; None if they may be."""
    places = (cache_directory(), folder.parent, folder, *folder.iterdir())
    return next((reason for place in places if (reason := others_may_write(place)) is not None), None)


def engine_key(network: Network, size: Size, precision: str) -> EngineKey:
    """The cache key of a network's ONNX model, which is the same for every device and number of images."""
    version = f"PyTorch {torch.__version__}, form {FORM}"
    return EngineKey("onnx", network.fingerprint, (size[0], size[1]), None, precision, "any", version)


def store_engine(network: Network, size: Size, precision: str, content: bytes) -> Path | None:
    """Store an ONNX model made by ``lsabinet export`` in the backend's cache; returns the result of
    ``EngineCache.store``."""
    return EngineCache().store(
        engine_key(network, size, precision), lambda folder: (folder / FILE).write_bytes(content)
    )
