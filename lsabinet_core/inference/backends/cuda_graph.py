"""CUDA graphs: one call launches all kernels of a frame, for networks whose kernel launches would limit the GPU."""

from collections.abc import Callable

import torch

from .choose import choose_cuda
from .cudnn_flags import plain_float32
from .shaped import DeployedBackend
from .shapes import Images, Run, Shape
from .transfer import PinnedUpload

WARM_UP_RUNS = 3
"""Runs before the capture, in which cuDNN chooses its kernels and the allocator reserves memory."""


class CudaGraphBackend(DeployedBackend):
    """Replays a captured graph of the deployed network.

    Args:
        device: ``auto``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` (fp16), ``fp32``, ``fp16`` or ``bf16``.
        threads: not used.

    Raises:
        BackendError: there is no GPU, or the precision is unknown.
    """

    name = "cuda-graph"

    def __init__(self, device: str = "auto", precision: str = "auto", threads: int = 0):
        super().__init__(choose_cuda(device, self.name), precision, threads, ("fp32", "fp16", "bf16"))

    def is_built(self, shape: Shape) -> bool:
        # cuDNN's search for the fastest kernels takes too long while a frame waits.
        return self.shapes.is_built(shape)

    def _build(self, shape: Shape) -> Run:
        return capture(self.deployed, shape, self.device)

    def _engine(self) -> str:
        return f"PyTorch {torch.__version__}, CUDA graph"


@torch.inference_mode()
def capture(network: Callable[[torch.Tensor], torch.Tensor], shape: Shape, device: torch.device) -> Run:
    """Capture ``network`` on images uint8 (*shape, 3); each run overwrites the result of the previous one."""
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
        # PyTorch may run frames in another thread during the capture.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            logits = network(images)

    def run(frames: Images) -> torch.Tensor:
        with torch.cuda.device(device):
            upload(frames, out=images)
            graph.replay()
        return logits

    # The graph reads the network's weights, but does not keep them in memory.
    return Run(run, network_alone=graph.replay, keeps=network)
