"""PyTorch, eager: on the CPU and on CUDA GPUs."""

from collections.abc import Callable

import numpy as np
import torch

from lsabinet_core.errors import BackendError
from lsabinet_core.inference.artefact import Artefact
from lsabinet_core.inference.deploy import DeployedNetwork
from lsabinet_core.inference.network import Network

from .common import CLOSED, DTYPES, choose_device, choose_precision, deploy, device_name, plain_float32
from .transfer import PinnedUpload


class TorchBackend:
    """Runs the deployed network in channels-last layout; images of any size, no building.

    On a GPU the network itself is in the reduced precision; on the CPU bf16 goes through autocast, which leaves to fp32
    what is wrong or slower in bf16 there.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp32 on the CPU, fp16 on a GPU), ``fp32``, ``bf16``, or ``fp16`` (GPU only).
        threads: not used: PyTorch's threads are bounded where it is called.
        search: on a GPU, whether the first images of a shape wait until cuDNN has found its fastest kernels.

    Raises:
        BackendError: a device or precision that is unknown or not available here.
    """

    name = "torch"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0, *, search: bool = True):
        self.device = choose_device(device)
        is_cpu = self.device.type == "cpu"
        offered = ("fp32", "bf16") if is_cpu else ("fp32", "fp16", "bf16")
        self.precision = choose_precision(precision, self.device, self.name, offered)
        self._autocast = is_cpu and self.precision != "fp32"
        self._search = search
        self._network: DeployedNetwork | None = None
        self._upload = PinnedUpload(self.device)

    def load(self, source: Network | Artefact) -> None:
        if isinstance(source, Artefact):
            raise BackendError(f"backend 'torch' runs weights files, not exports such as {source.path}")
        dtype = torch.float32 if self._autocast else DTYPES[self.precision]
        self._network = deploy(source, self.device, dtype)

    def prepare(self, size: tuple[int, int], batch: int = 1) -> None:
        if self._network is None:
            raise BackendError(CLOSED)

    @torch.inference_mode()
    def infer(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        return self._run(self._upload(images))

    def _run(self, images: torch.Tensor) -> torch.Tensor:
        if self._network is None:
            raise BackendError(CLOSED)
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast)
        with autocast, plain_float32(search=self._search):
            return self._network(images)

    def network_alone(self, shape: tuple[int, int, int]) -> Callable[[], torch.Tensor]:
        """As ``ShapedBackend.network_alone``."""
        images = torch.zeros(*shape, 3, dtype=torch.uint8, device=self.device)
        return torch.inference_mode()(lambda: self._run(images))

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def describe(self) -> dict[str, str]:
        return {
            "backend": self.name,
            "engine": f"PyTorch {torch.__version__}",
            "device": str(self.device),
            "device_name": device_name(self.device),
            "precision": self.precision,
        }

    def close(self) -> None:
        self._network = None
