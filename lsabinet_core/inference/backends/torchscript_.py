"""TorchScript files, run by PyTorch."""

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.convert import torchscript

from .common import Run, ShapedBackend, choose_device, plain_float32
from .transfer import PinnedUpload


class TorchScriptBackend(ShapedBackend):
    """Runs what ``lsabinet export --to torchscript`` wrote; device and errors as ``TorchBackend``."""

    name = "torchscript"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_device(device), precision, threads, ("fp32", "fp16"))
        self._script: torch.jit.ScriptModule | None = None

    def load(self, source) -> None:
        if not isinstance(source, Artefact):
            raise BackendError("backend 'torchscript' runs exports only: make one with `lsabinet export`, or use torch")
        super().load(source)
        self._script = torchscript.load(source.path, self.device).eval()

    def _build(self, shape: tuple[int, int, int]) -> Run:
        script, upload = self._script, PinnedUpload(self.device)

        @torch.inference_mode()
        def run(images: np.ndarray) -> torch.Tensor:
            with plain_float32():
                return script(upload(images))

        return run

    def close(self) -> None:
        super().close()
        self._script = None
