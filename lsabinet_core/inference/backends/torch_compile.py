"""PyTorch compiled by Inductor, on the CPU and on CUDA GPUs.

The first build of a shape can take minutes; the result is cached on disk, so that later builds take seconds.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.cache import EngineCache, EngineKey
from lsabinet_core.inference.deploy import FORM

from .choices import forget_choices
from .choose import choose_device, device_name
from .cuda_graph import capture
from .cudnn_flags import plain_float32
from .shaped import DeployedBackend
from .shapes import Images, Run, Shape, Size
from .transfer import PinnedUpload

if TYPE_CHECKING:
    # PyTorch imports it when it is first used.
    import torch._inductor.config

log = logging.getLogger(__name__)

FILE = "inductor.bin"

# Renamed in PyTorch 2.6.
_RECOMPILE_LIMIT = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"


class TorchCompileBackend(DeployedBackend):
    """Arguments and errors as ``TorchBackend``. On a GPU it replays a captured graph of the compiled kernels."""

    name = "torch-compile"
    slow = True

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        chosen = choose_device(device)
        offered = ("fp32",) if chosen.type == "cpu" else ("fp32", "fp16", "bf16")
        super().__init__(chosen, precision, threads, offered)

    def builds_quickly(self, size: Size) -> bool:
        return EngineCache().find(self._key((1, *size))) is not None

    def is_built(self, shape: Shape) -> bool:
        # Loading even a cached result takes too long while a frame waits.
        return self.shapes.is_built(shape)

    def _key(self, shape: Shape) -> EngineKey:
        device = f"{self.device.type} {device_name(self.device)}, {self.threads} threads"
        version = f"{self._engine()}, form {FORM}"
        return EngineKey(
            self.name, self.loaded_network.fingerprint, shape[1:], shape[0], self.precision, device, version
        )

    def _build(self, shape: Shape) -> Run:
        cache, key = EngineCache(), self._key(shape)
        if (artifacts := cache.load(key, lambda folder: (folder / FILE).read_bytes())) is not None:
            torch.compiler.load_cache_artifacts(artifacts)
            return self._compile(shape)
        log.info("backend %s: compiling for %d x %dx%d, which may take minutes", self.name, *shape)
        run = self._compile(shape)
        # PyTorch before 2.7 does not return cache artefacts.
        if (artifacts := getattr(torch.compiler, "save_cache_artifacts", lambda: None)()) is not None:
            cache.store(key, lambda folder: (folder / FILE).write_bytes(artifacts[0]))
            forget_choices()
        return run

    def _compile(self, shape: Shape) -> Run:
        # By default PyTorch compiles at most eight variants of a function shared by all networks, and runs the others
        # uncompiled.
        try:
            # By default one compiler process per core would compete with the frames.
            compilers = self.threads or torch._inductor.config.compile_threads
            with (
                torch._dynamo.config.patch({_RECOMPILE_LIMIT: 64}),
                torch._inductor.config.patch(compile_threads=compilers),
            ):
                if self.device.type == "cuda":
                    compiled = torch.compile(
                        self.deployed, dynamic=False, fullgraph=True, mode="max-autotune-no-cudagraphs"
                    )
                    return capture(compiled, shape, self.device)
                compiled = torch.compile(self.deployed, dynamic=False, fullgraph=True)
                return self._checked(compiled, shape)
        except Exception as error:
            # The output of the C++ compiler or Triton fills pages.
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise BackendError(
                f"backend {self.name!r} cannot compile here ({first[0]}): it needs a C++ compiler (apt install g++) "
                "and, on a GPU, Triton; use backend torch"
            ) from error

    def _checked(self, compiled: Callable[[torch.Tensor], torch.Tensor], shape: Shape) -> Run:
        upload = PinnedUpload(self.device)

        @torch.inference_mode()
        def run(images: Images) -> torch.Tensor:
            return compiled(upload(images))

        with torch.inference_mode():
            compiled(torch.zeros(*shape, 3, dtype=torch.uint8))
        return Run(run)

    def _fallback(self, shape: Shape) -> Run:
        upload = PinnedUpload(self.device)

        @torch.inference_mode()
        def run(images: Images) -> torch.Tensor:
            with plain_float32(search=False):
                return self.deployed(upload(images))

        return Run(run)

    def _engine(self) -> str:
        return f"PyTorch {torch.__version__}, Inductor"
