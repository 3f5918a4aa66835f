"""TensorRT engines that ``lsabinet export --to tensorrt`` built for this GPU."""

from pathlib import Path
from typing import Any

import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.cache import EngineCache, EngineKey
from lsabinet_core.inference.convert import tensorrt_
from lsabinet_core.inference.deploy import FORM
from lsabinet_core.inference.network import Network

from .base import NotExportedError
from .choose import choose_cuda, device_name
from .shaped import ShapedBackend, output_of
from .shapes import Images, Run, Shape, Size
from .transfer import PinnedUpload

FILE = "network.engine"


class TensorRTBackend(ShapedBackend):
    """Runs existing engines; it never builds one, because a build takes minutes.

    Args:
        device: ``auto``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp16), ``fp32`` or ``fp16``.
        threads: not used.

    Raises:
        BackendError: there is no GPU, TensorRT is not installed, or the precision is unknown.
    """

    name = "tensorrt"
    builds_itself = False

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_cuda(device, self.name), precision, threads, ("fp32", "fp16"))
        self._tensorrt = tensorrt_.import_tensorrt()

    def builds_quickly(self, size: Size) -> bool:
        return isinstance(self.source, Artefact) or EngineCache().find(self._key((1, *size))) is not None

    def exported_sizes(self) -> list[Size]:
        return (
            [] if isinstance(self.source, Artefact) else EngineCache().sizes(self._key((1, *self.loaded_network.size)))
        )

    def batch_for(self, shape: Shape) -> int:
        batch = super().batch_for(shape)
        if isinstance(self.source, Artefact) or batch == 1:
            return batch
        # Run images one by one if no engine was built for this number.
        built = (batch, *shape[1:])
        return self.shapes.batch(built, lambda: 1 if EngineCache().find(self._key(built)) is None else batch)

    def _key(self, shape: Shape) -> EngineKey:
        return engine_key(self.loaded_network, shape[1:], shape[0], self.precision, self.device)

    def _build(self, shape: Shape) -> Run:
        # An engine is loaded to the current GPU.
        with torch.cuda.device(self.device):
            engine = self._engine_for(shape)
            context = engine.create_execution_context()
        if context is None:
            raise BackendError("TensorRT could not prepare the engine for running: see its message on stderr")
        context.set_input_shape("images", (*shape, 3))
        upload = PinnedUpload(self.device)
        images = torch.empty(*shape, 3, dtype=torch.uint8, device=self.device)
        name, dtype = output_of(self.loaded)
        output = torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype, device=self.device)
        context.set_tensor_address("images", images.data_ptr())
        context.set_tensor_address(name, output.data_ptr())
        # On the default stream, TensorRT synchronises before and after each frame.
        stream = torch.cuda.Stream(self.device)

        def execute(frames: Images | None = None) -> None:
            # Do not overwrite the previous output before the current stream has finished reading it.
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                if frames is not None:
                    upload(frames, out=images)
                if not context.execute_async_v3(stream.cuda_stream):
                    raise BackendError("TensorRT could not run the engine: see its message on stderr")
            torch.cuda.current_stream(self.device).wait_stream(stream)

        def run(frames: Images) -> torch.Tensor:
            execute(frames)
            return output

        return Run(run, network_alone=execute)

    def _engine_for(self, shape: Shape) -> Any:
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


def engine_key(network: Network, size: Size, batch: int, precision: str, device: torch.device) -> EngineKey:
    """The key of the engine for a network, shape and GPU."""
    version = f"TensorRT {tensorrt_.import_tensorrt().__version__}, form {FORM}"
    where = device_name(device)
    return EngineKey(
        "tensorrt", network.fingerprint, (size[0], size[1]), batch, precision, where, version, exported=True
    )


def store_engine(network: Network, size: Size, batch: int, precision: str, content: bytes) -> Path | None:
    """Store an engine built by ``lsabinet export`` in the backend's cache; returns the result of
    ``EngineCache.store``."""
    key = engine_key(network, size, batch, precision, choose_cuda("auto", "tensorrt"))
    return EngineCache().store(key, lambda folder: (folder / FILE).write_bytes(content))
