"""CUDA graphs: all kernels of a frame launched by one call, for GPUs that wait for the CPU at one frame at a time."""

from collections.abc import Callable

import numpy as np
import torch

from .common import DeployedBackend, Run, choose_cuda, plain_float32
from .transfer import PinnedUpload

WARM_UP_RUNS = 3
"""Before capture, so that cuDNN has chosen its kernels and the allocator has its blocks."""


class CudaGraphBackend(DeployedBackend):
    """Replays a captured graph of the deployed network.

    Args:
        device: ``auto``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp16), ``fp32``, ``fp16`` or ``bf16``.
        threads: not used.

    Raises:
        BackendError: no GPU, or an unknown precision.
    """

    name = "cuda-graph"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_cuda(device, self.name), precision, threads, ("fp32", "fp16", "bf16"))

    def is_built(self, shape: tuple[int, int, int]) -> bool:
        # cuDNN's search for its fastest kernels takes longer than a frame may wait.
        return shape in self._runs

    def _build(self, shape: tuple[int, int, int]) -> Run:
        return capture(self.network, shape, self.device)

    def _engine(self) -> str:
        return f"PyTorch {torch.__version__}, CUDA graph"


@torch.inference_mode()
def capture(network: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, int, int], device: torch.device) -> Run:
    """Capture ``network`` on images uint8 (*shape, 3); the result of a run is overwritten by the next."""
    upload = PinnedUpload(device)
    images = torch.zeros(*shape, 3, dtype=torch.uint8, device=device)
    with torch.cuda.device(device), plain_float32():
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                network(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Frames may go through PyTorch in another thread meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            logits = network(images)

    def run(frames: np.ndarray) -> torch.Tensor:
        with torch.cuda.device(device):
            upload(frames, out=images)
            graph.replay()
        return logits

    # The graph reads the network's weights, but does not keep them.
    run.network = network
    run.network_alone = graph.replay
    return run
