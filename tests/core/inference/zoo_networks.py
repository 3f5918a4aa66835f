"""Untrained networks of the zoo with realistic batch-norm statistics, for tests of the inference code."""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from lsabinet_core.inference.network import Network
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata

LABELS = LabelSet("four", ("a", "b", "c", "d"), ((128, 0, 0), (0, 128, 0), (0, 0, 128), (128, 128, 0)))
SIZE = (64, 96)

UNPOOLING = ("enet", "segnet")
"""Networks with max unpooling: rounding may move unpooled values by a pixel, so a few logits differ by more."""


@cache
def zoo_network(name: str) -> Network:
    """A network of four classes with random weights, whose batch normalisation has the statistics of ``patches``."""
    torch.manual_seed(4)
    model = create_model(name, len(LABELS))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Cumulative statistics of all batches instead of running ones.
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    metadata = WeightsMetadata(name, LABELS, SIZE, mean=(0.41, 0.42, 0.43), std=(0.27, 0.28, 0.29))
    with torch.no_grad():
        model.train()(normalised(patches(8, SIZE), metadata))
    return Network(model.eval().requires_grad_(False), metadata, SIZE)


def patches(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """uint8 (count, H, W, 3): noisy patches of all colours, so that masks contain several classes."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.arange(length) * cells // length for length, cells in zip(size, (6, 8)))
    colours = rng.integers(20, 236, (count, 6, 8, 3))[:, rows][:, :, columns]
    return (colours + rng.integers(-20, 20, (count, *size, 3))).astype(np.uint8)


def normalised(images: np.ndarray, metadata: WeightsMetadata) -> Tensor:
    """The network's input for images uint8 (N, H, W, 3), BGR: float (N, 3, H, W), in plain PyTorch code."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (metadata.mean, metadata.std))
    return (torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) / 255 - mean) / std


def plain_logits(network: Network, images: np.ndarray) -> Tensor:
    """The logits (N, C, h, w) of images uint8 (N, H, W, 3), BGR, of the original network."""
    with torch.no_grad():
        return network.model.low_resolution_logits(normalised(images, network.metadata))


def check_close(network: Network, found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-4 of the logits' range; for networks with unpooling, all but a few."""
    assert found.shape == expected.shape
    spread = expected.max() - expected.min()
    error = (found - expected).abs() / spread
    assert spread > 0.5, "the networks are compared on flat logits"
    if network.metadata.architecture in UNPOOLING:
        assert error.square().mean().sqrt() < 5e-3
        assert error.median() < 1e-4
    else:
        assert error.max() < 1e-4
