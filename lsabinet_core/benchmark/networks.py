"""The latency of networks as they are written, side by side."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from .interleaved import time_interleaved

ROUNDS = 15


def forward_latency(
    networks: Mapping[str, nn.Module],
    size: tuple[int, int],
    device: torch.device,
    *,
    rounds: int = ROUNDS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, float]:
    """Median milliseconds of the eager fp32 forward pass of one image of ``size`` (H, W), by the networks' names.

    The networks are moved to ``device`` and set to evaluation.
    """
    image = torch.rand(1, 3, *size, device=device)
    placed = {name: network.to(device).eval() for name, network in networks.items()}
    work = {name: lambda network=network: network(image) for name, network in placed.items()}
    with torch.inference_mode():
        timings = time_interleaved(work, rounds=rounds, device=device, progress=progress)
    return {name: timing.median_ms for name, timing in timings.items()}
