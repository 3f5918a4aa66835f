"""TensorRT engines that ``lsabinet export --to tensorrt`` built for this GPU."""

from pathlib import Path

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import EngineCache, EngineKey
from lsabinet_core.inference.convert import tensorrt_
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network

from .common import NotExportedError, Run, ShapedBackend, choose_cuda, device_name, output_of
from .transfer import PinnedUpload

FILE = "network.engine"


class TensorRTBackend(ShapedBackend):
    """Runs engines that exist; it never builds one, because that takes minutes.

    Args:
        device: ``auto``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp16), ``fp32`` or ``fp16``.
        threads: not used.

    Raises:
        BackendError: no GPU, TensorRT is not installed, or an unknown precision.
    """

    name = "tensorrt"
    builds_itself = False

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_cuda(device, self.name), precision, threads, ("fp32", "fp16"))
        self._tensorrt = tensorrt_.import_tensorrt()
        self._batches: dict[tuple[int, int, int], int] = {}

    def builds_quickly(self, size: tuple[int, int]) -> bool:
        return isinstance(self.source, Artefact) or EngineCache().find(self._key((1, *size))) is not None

    def exported_sizes(self) -> list[tuple[int, int]]:
        return [] if isinstance(self.source, Artefact) else EngineCache().sizes(self._key((1, *self.source.size)))

    def _built_batch(self, shape: tuple[int, int, int]) -> int:
        if isinstance(self.source, Artefact) or shape[0] == 1:
            return super()._built_batch(shape)
        # Several images go through one by one where no engine was built for as many.
        if shape not in self._batches:
            self._batches[shape] = 1 if EngineCache().find(self._key(shape)) is None else shape[0]
        return self._batches[shape]

    def _key(self, shape: tuple[int, int, int]) -> EngineKey:
        return engine_key(self.source, shape[1:], shape[0], self.precision, self.device)

    def _build(self, shape: tuple[int, int, int]) -> Run:
        # An engine belongs to the GPU that is the current one when it is read.
        with torch.cuda.device(self.device):
            engine = self._engine_for(shape)
            context = engine.create_execution_context()
        if context is None:
            raise BackendError("TensorRT could not make the engine ready to run: its message on stderr says why")
        context.set_input_shape("images", (*shape, 3))
        upload = PinnedUpload(self.device)
        images = torch.empty(*shape, 3, dtype=torch.uint8, device=self.device)
        name, dtype = output_of(self.source)
        output = torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype, device=self.device)
        context.set_tensor_address("images", images.data_ptr())
        context.set_tensor_address(name, output.data_ptr())
        # TensorRT waits around frames on the default stream.
        stream = torch.cuda.Stream(self.device)

        def execute(frames: np.ndarray | None = None) -> None:
            # What still reads the output for the images before comes first.
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                if frames is not None:
                    upload(frames, out=images)
                if not context.execute_async_v3(stream.cuda_stream):
                    raise BackendError("TensorRT could not run the engine: its message on stderr says why")
            torch.cuda.current_stream(self.device).wait_stream(stream)

        def run(frames: np.ndarray) -> torch.Tensor:
            execute(frames)
            return output

        run.network_alone = execute
        return run

    def _engine_for(self, shape: tuple[int, int, int]):
        runtime = self._tensorrt.Runtime(self._tensorrt.Logger(self._tensorrt.Logger.ERROR))
        if isinstance(self.source, Artefact):
            engine = runtime.deserialize_cuda_engine(self.source.path.read_bytes())
            if engine is None:
                raise BackendError(
                    f"{self.source.path} was built for another GPU or TensorRT (here {self._tensorrt.__version__}): "
                    "export it again on this machine"
                )
            return engine
        cache, key = EngineCache(), self._key(shape)
        content = cache.load(key, lambda folder: (folder / FILE).read_bytes())
        if content is not None:
            engine = runtime.deserialize_cuda_engine(content)
            if engine is not None:
                return engine
            cache.discard(key, "cannot be loaded by TensorRT")
        batch, height, width = shape
        raise NotExportedError(
            f"no TensorRT engine for {batch} x {height}x{width} in {self.precision}: build it once with `lsabinet "
            f"export --to tensorrt --precision {self.precision} --size {height}x{width} --batch {batch} --weights W`"
        )

    def _engine(self) -> str:
        return f"TensorRT {self._tensorrt.__version__}"


def engine_key(network: Network, size: tuple[int, int], batch: int, precision: str, device: torch.device) -> EngineKey:
    """Where the engine for a network, shape and GPU is kept."""
    version = f"TensorRT {tensorrt_.import_tensorrt().__version__}, form {FORM}"
    return EngineKey(
        "tensorrt", network.fingerprint, tuple(size), batch, precision, device_name(device), version, exported=True
    )


def store_engine(network: Network, size: tuple[int, int], batch: int, precision: str, content: bytes) -> Path | None:
    """Keep an engine that was built elsewhere (``lsabinet export``) where the backend looks for it; as
    ``EngineCache.store``."""
    key = engine_key(network, size, batch, precision, choose_cuda("auto", "tensorrt"))
    return EngineCache().store(key, lambda folder: (folder / FILE).write_bytes(content))
