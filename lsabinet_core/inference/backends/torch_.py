"""PyTorch in eager mode, on the CPU and on CUDA GPUs."""

from collections.abc import Callable

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.deploy import DeployedNetwork
from lsabinet_core.inference.network import Network
from lsabinet_core.models.blocks import move

from .base import CLOSED, Backend, in_parts
from .choose import DTYPES, choose_device, choose_precision
from .cudnn_flags import plain_float32
from .shapes import Shape, Size, shape_of
from .transfer import PinnedUpload


class TorchBackend(Backend):
    """Runs the deployed network in channels-last layout on images of any size, without building anything.

    On a GPU the network itself has the reduced precision. On the CPU bf16 uses autocast, which keeps operators in fp32
    that are inaccurate or slower in bf16.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``bf16``, or ``fp16`` (GPU only).
        threads: not used: the caller limits PyTorch's threads.
        search: on a GPU, whether the first images of a shape wait until cuDNN has found its fastest kernels.

    Raises:
        BackendError: the device or precision is unknown or not available here.
    """

    name = "torch"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0, *, search: bool = True):
        chosen = choose_device(device)
        offered = ("fp32", "bf16") if chosen.type == "cpu" else ("fp32", "fp16", "bf16")
        super().__init__(chosen, choose_precision(precision, chosen, self.name, offered))
        self._autocast = chosen.type == "cpu" and self.precision != "fp32"
        self._search = search
        self._network: DeployedNetwork | None = None
        self._upload = PinnedUpload(self.device)

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            raise BackendError(f"backend 'torch' runs weights files, not exported models such as {source.path}")
        self.close()
        self._network = deploy(source, self.device, torch.float32 if self._autocast else DTYPES[self.precision])

    def prepare(self, size: Size, batch: int = 1) -> None:
        if self._network is None:
            raise BackendError(CLOSED)

    @torch.inference_mode()
    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        batch = self.batch_for(shape_of(images))
        return in_parts(images, batch, lambda part: self._run(self._upload(part)))

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        if self._network is None:
            raise BackendError(CLOSED)
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast)
        with autocast, plain_float32(search=self._search):
            return self._network(images)

    def network_alone(self, shape: Shape) -> Callable[[], torch.Tensor]:
        images = torch.zeros(*shape, 3, dtype=torch.uint8, device=self.device)
        return torch.inference_mode()(lambda: self._run(images))

    def close(self) -> None:
        self._network = None
        self.shapes.clear()


def deploy(source: Network, device: torch.device, dtype: torch.dtype) -> DeployedNetwork:
    """Copy the network to a device, in evaluation mode and channels-last layout, for inference."""
    network = DeployedNetwork(source.model, source.metadata, dtype=dtype).eval()
    return move(network, device)
