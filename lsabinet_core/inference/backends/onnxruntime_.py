"""ONNX Runtime: its CPU, CUDA and TensorRT providers."""

import logging
import shutil
import uuid
from pathlib import Path

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import EngineCache, EngineKey, cache_directory
from lsabinet_core.inference.convert import onnx_, tensorrt_
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network
from lsabinet_core.inference.optional import require

from .choices import forget_choices
from .common import Run, ShapedBackend, choose_cuda, choose_device, device_name, output_of
from .transfer import PinnedUpload

log = logging.getLogger(__name__)

FILE = "network.onnx"


class OnnxRuntimeBackend(ShapedBackend):
    """Runs the network's ONNX form; making that takes up to a minute once, after which it is kept on disk.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32`` or ``fp16``.
        threads: most threads on the CPU; 0 takes all cores.

    Raises:
        BackendError: ONNX Runtime is not installed, its build lacks the device's provider, or an unknown precision.
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
        # TF32 is the default, and is not fp32.
        return {} if self.device.type == "cpu" else {"device_id": self._device_id, "use_tf32": "0"}

    @property
    def _device_id(self) -> str:
        return str(self.device.index or 0)

    def builds_quickly(self, size: tuple[int, int]) -> bool:
        return isinstance(self.source, Artefact) or EngineCache().find(self._key(size)) is not None

    def _key(self, size: tuple[int, int]) -> EngineKey:
        return engine_key(self.source, size, self.precision)

    def _build(self, shape: tuple[int, int, int]) -> Run:
        session = self._session(shape[1:])
        if session.get_providers()[0] != self._provider:
            # Otherwise ONNX Runtime goes on with the CPU after a message on stderr.
            raise BackendError(f"onnxruntime could not start its {self._provider} here: its message on stderr says why")
        return self._run_on_cpu(session) if self.device.type == "cpu" else self._run_on_cuda(session, shape)

    def _session(self, size: tuple[int, int]):
        if isinstance(self.source, Artefact):
            return self._open(self.source.path.read_bytes())

        def build() -> bytes:
            content = onnx_.convert(self.source, size, half=self.precision == "fp16")
            forget_choices()
            return content

        content = EngineCache().load_or_build(
            self._key(size),
            load=lambda folder: (folder / FILE).read_bytes(),
            build=build,
            store=lambda content, folder: (folder / FILE).write_bytes(content),
        )
        return self._open(content)

    def _open(self, content: bytes):
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that wait for the next frame at full speed would take the cores from everything else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        return self._onnxruntime.InferenceSession(content, options, providers=self._providers())

    def _providers(self) -> list[tuple[str, dict[str, str]]]:
        """The chosen one first; what it does not take goes to the next."""
        providers = [(self._provider, self._provider_options())]
        if self.device.type != "cpu":
            providers.append(("CPUExecutionProvider", {}))
        return providers

    @staticmethod
    def _run_on_cpu(session) -> Run:
        def run(images: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(session.run(None, {"images": images})[0])

        return run

    def _run_on_cuda(self, session, shape: tuple[int, int, int]) -> Run:
        index = self.device.index or 0
        upload = PinnedUpload(self.device)
        images = torch.empty(*shape, 3, dtype=torch.uint8, device=self.device)
        (output,) = session.get_outputs()
        name, dtype = output_of(self.source)
        result = torch.empty(shape[0], *output.shape[1:], dtype=dtype, device=self.device)
        binding = session.io_binding()
        binding.bind_input("images", "cuda", index, np.uint8, tuple(images.shape), images.data_ptr())
        element = np.float32 if dtype == torch.float32 else np.uint8
        binding.bind_output(name, "cuda", index, element, tuple(result.shape), result.data_ptr())

        def run(frames: np.ndarray) -> torch.Tensor:
            upload(frames, out=images)
            # The session has a stream of its own.
            torch.cuda.current_stream(self.device).synchronize()
            session.run_with_iobinding(binding)
            return result

        # At the first images cuDNN looks for its fastest kernels, and TensorRT builds.
        run(np.zeros((*shape, 3), np.uint8))
        run.network_alone = lambda: session.run_with_iobinding(binding)
        return run

    def _engine(self) -> str:
        return f"ONNX Runtime {self._onnxruntime.__version__}, {self._provider}"


class OnnxRuntimeTensorRTBackend(OnnxRuntimeBackend):
    """ONNX Runtime's TensorRT provider; TensorRT's own build of a shape takes minutes once and is kept on disk."""

    name = "onnxruntime-tensorrt"
    slow = True

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(device, precision, threads)
        # The provider is listed without it; importing also lets the provider find its libraries.
        tensorrt_.import_tensorrt()

    def _choose(self, device: str) -> torch.device:
        return choose_cuda(device, self.name)

    def _provider_name(self) -> str:
        return "TensorrtExecutionProvider"

    def _folder(self, size: tuple[int, int]) -> Path:
        """Where the provider keeps its engines, which it names by the graph without its weights."""
        source = self.source
        weights = source.info.weights if isinstance(source, Artefact) else source.fingerprint
        key = EngineKey(self.name, weights, tuple(size), None, self.precision, device_name(self.device), "")
        version = f"{self._onnxruntime.__version__}-{FORM}"
        return cache_directory() / self.name / f"{key.folder}-{version}"

    def _build(self, shape: tuple[int, int, int]) -> Run:
        self._engines = self._folder(shape[1:])
        self._engines.mkdir(parents=True, exist_ok=True)
        was_built = self.builds_quickly(shape[1:])
        try:
            run = super()._build(shape)
        except BackendError:
            raise
        except Exception as error:
            if not was_built:
                raise
            # Cut short, say: ONNX Runtime does not build again what it cannot read.
            log.warning("cached engine %s cannot be used (%s): it is built again", self._engines.name, error)
            run = self._build_anew(shape)
            was_built = False
        if not was_built:
            forget_choices()
        return run

    def _build_anew(self, shape: tuple[int, int, int]) -> Run:
        """As if there were no engines; they come back where that is no better, for then they were not the reason."""
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
            # In each operator's own type, as the ONNX form has it: what that keeps in fp32 would not hold in fp16.
            "trt_fp16_enable": "False",
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(self._engines),
        }

    def _providers(self) -> list[tuple[str, dict[str, str]]]:
        chosen, *others = super()._providers()
        # On the GPU, too: a part on the CPU would cost a round trip for each frame.
        return [chosen, ("CUDAExecutionProvider", super()._provider_options()), *others]

    def builds_quickly(self, size: tuple[int, int]) -> bool:
        return any(self._folder(size).glob("*.engine"))

    def is_built(self, shape: tuple[int, int, int]) -> bool:
        # Even what is kept on disk takes longer than a frame may wait.
        return shape in self._runs

    def _fallback(self, shape: tuple[int, int, int]) -> Run:
        backend = OnnxRuntimeBackend(str(self.device), self.precision, self.threads)
        backend.load(self.source)
        return backend._build(shape)


def engine_key(network: Network, size: tuple[int, int], precision: str) -> EngineKey:
    """Where the ONNX form of a network is kept: the same for every device and number of images."""
    return EngineKey(
        "onnx", network.fingerprint, tuple(size), None, precision, "any", f"PyTorch {torch.__version__}, form {FORM}"
    )


def store_engine(network: Network, size: tuple[int, int], precision: str, content: bytes) -> Path | None:
    """Keep a form that was made elsewhere (``lsabinet export``) where the backend looks for it; as
    ``EngineCache.store``."""
    return EngineCache().store(
        engine_key(network, size, precision), lambda folder: (folder / FILE).write_bytes(content)
    )
