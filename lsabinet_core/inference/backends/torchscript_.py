"""TorchScript files, run by PyTorch."""

import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.convert import torchscript
from lsabinet_core.inference.network import Network

from .base import CLOSED
from .choose import choose_device
from .cudnn_flags import plain_float32
from .shaped import ShapedBackend
from .shapes import Images, Run, Shape
from .transfer import PinnedUpload


class TorchScriptBackend(ShapedBackend):
    """Runs exports of ``lsabinet export --to torchscript``; device and errors as ``TorchBackend``."""

    name = "torchscript"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_device(device), precision, threads, ("fp32", "fp16"))
        self._script: torch.jit.ScriptModule | None = None

    def load(self, source: Network | Artefact) -> None:
        if not isinstance(source, Artefact):
            raise BackendError("backend 'torchscript' runs exports only: make one with `lsabinet export`, or use torch")
        super().load(source)
        self._script = torchscript.load(source.path, self.device).eval()

    def _build(self, shape: Shape) -> Run:
        script, upload = self._script, PinnedUpload(self.device)
        if script is None:
            raise BackendError(CLOSED)

        @torch.inference_mode()
        def run(images: Images) -> torch.Tensor:
            with plain_float32():
                return script(upload(images))

        return Run(run)

    def close(self) -> None:
        super().close()
        self._script = None
