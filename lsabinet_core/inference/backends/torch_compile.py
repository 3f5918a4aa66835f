"""PyTorch, compiled by Inductor: on the CPU and on CUDA GPUs.

The first build of a shape takes up to minutes; what Inductor made is kept on disk, so that the next takes seconds.
"""

import logging

import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.cache import EngineCache, EngineKey
from lsabinet_core.inference.deploy import FORM

from .choices import forget_choices
from .common import DeployedBackend, Run, choose_device, device_name, plain_float32
from .cuda_graph import capture
from .transfer import PinnedUpload

log = logging.getLogger(__name__)

FILE = "inductor.bin"

# Its name before PyTorch 2.6 was another.
_MOST_FORMS = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"


class TorchCompileBackend(DeployedBackend):
    """Arguments and errors as ``TorchBackend``; a GPU replays a captured graph of the compiled kernels."""

    name = "torch-compile"
    slow = True

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        chosen = choose_device(device)
        offered = ("fp32",) if chosen.type == "cpu" else ("fp32", "fp16", "bf16")
        super().__init__(chosen, precision, threads, offered)

    def builds_quickly(self, size: tuple[int, int]) -> bool:
        return EngineCache().find(self._key((1, *size))) is not None

    def is_built(self, shape: tuple[int, int, int]) -> bool:
        # Even what is kept on disk takes longer than a frame may wait.
        return shape in self._runs

    def _key(self, shape: tuple[int, int, int]) -> EngineKey:
        device = f"{self.device.type} {device_name(self.device)}, {self.threads} threads"
        version = f"{self._engine()}, form {FORM}"
        return EngineKey(self.name, self.source.fingerprint, shape[1:], shape[0], self.precision, device, version)

    def _build(self, shape: tuple[int, int, int]) -> Run:
        cache, key = EngineCache(), self._key(shape)
        if (artifacts := cache.load(key, lambda folder: (folder / FILE).read_bytes())) is not None:
            torch.compiler.load_cache_artifacts(artifacts)
            return self._compile(shape)
        log.info("backend %s: compiling for %d x %dx%d, which may take minutes", self.name, *shape)
        run = self._compile(shape)
        # PyTorch before 2.7 cannot say what it made.
        if (artifacts := getattr(torch.compiler, "save_cache_artifacts", lambda: None)()) is not None:
            cache.store(key, lambda folder: (folder / FILE).write_bytes(artifacts[0]))
            forget_choices()
        return run

    def _compile(self, shape: tuple[int, int, int]) -> Run:
        # Of one function, which all networks share, PyTorch compiles eight forms, and runs any other uncompiled.
        try:
            # One compiler process per core would run beside the frames.
            compilers = self.threads or torch._inductor.config.compile_threads
            with (
                torch._dynamo.config.patch({_MOST_FORMS: 64}),
                torch._inductor.config.patch(compile_threads=compilers),
            ):
                if self.device.type == "cuda":
                    compiled = torch.compile(
                        self.network, dynamic=False, fullgraph=True, mode="max-autotune-no-cudagraphs"
                    )
                    return capture(compiled, shape, self.device)
                compiled = torch.compile(self.network, dynamic=False, fullgraph=True)
                return self._checked(compiled, shape)
        except Exception as error:
            # Inductor calls a C++ compiler or Triton, and what they say goes on for pages.
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise BackendError(
                f"backend {self.name!r} cannot compile here ({first[0]}): it needs a C++ compiler (apt install g++) "
                "and, on a GPU, Triton; use backend torch"
            ) from error

    def _checked(self, compiled, shape: tuple[int, int, int]) -> Run:
        upload = PinnedUpload(self.device)

        @torch.inference_mode()
        def run(images):
            return compiled(upload(images))

        with torch.inference_mode():
            compiled(torch.zeros(*shape, 3, dtype=torch.uint8))
        return run

    def _fallback(self, shape: tuple[int, int, int]) -> Run:
        upload = PinnedUpload(self.device)

        @torch.inference_mode()
        def run(images):
            with plain_float32(search=False):
                return self.network(upload(images))

        return run

    def _engine(self) -> str:
        return f"PyTorch {torch.__version__}, Inductor"
