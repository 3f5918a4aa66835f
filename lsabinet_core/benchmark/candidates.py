"""The candidates of ``lsabinet benchmark``: a network on an engine, at a size."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from lsabinet_core.errors import BackendError, LsabinetError
from lsabinet_core.inference.backends import list_backends
from lsabinet_core.inference.backends.choose import PRECISIONS
from lsabinet_core.inference.parity import make_picture
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model, list_models
from lsabinet_core.models.blocks import SegmentationNetwork
from lsabinet_core.models.weights import WeightsMetadata, load_weights

EAGER = "eager"
"""The baseline of the comparison: unmodified PyTorch."""

RANDOM_WEIGHTS = "none: random weights"
"""Data set of untrained networks."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEED = 0
STATISTICS_SIZE = (128, 192)
STATISTICS_IMAGES = 4


@dataclass(frozen=True)
class Candidate:
    """One combination to measure.

    Attributes:
        model: a network of ``lsabinet models``, with random weights; or shipped weights; or a weights file.
        backend: an engine, ``auto`` or ``eager``.
        precision: ``auto``, ``fp32``, ``fp16``, ``bf16`` or ``int8``; ``eager`` is fp32.
        size: (H, W) of the network's input.
        batch: images per call.
    """

    model: str
    backend: str
    precision: str
    size: tuple[int, int]
    batch: int = 1

    def document(self) -> dict:
        """The candidate as JSON values."""
        return {**asdict(self), "size": list(self.size)}

    def __str__(self) -> str:
        height, width = self.size
        batch = f", batch {self.batch}" if self.batch > 1 else ""
        return f"{self.model}, {self.backend}, {self.precision}, {height}x{width}{batch}"


def combine(
    models: Sequence[str],
    backends: Sequence[str],
    precisions: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    batch: int = 1,
) -> list[Candidate]:
    """Every combination, ordered by size, model and engine; ``eager`` only once each, in fp32."""
    candidates = [
        Candidate(model, backend, "fp32" if backend == EAGER else precision, size, batch)
        for size, model, backend, precision in itertools.product(sizes, models, backends, precisions)
    ]
    return list(dict.fromkeys(candidates))


def check_names(candidates: Sequence[Candidate]) -> None:
    """Raise BackendError for an unknown engine or precision."""
    for candidate in candidates:
        if candidate.backend not in (EAGER, *list_backends()):
            known = ", ".join([EAGER, *list_backends()])
            raise BackendError(f"expected backend to be one of {known}, got {candidate.backend!r}")
        if candidate.precision not in ("auto", *PRECISIONS):
            raise BackendError(f"expected precision to be auto, {', '.join(PRECISIONS)}, got {candidate.precision!r}")


def open_network(
    name: str, label_set: LabelSet, build: Callable[[], SegmentationNetwork] | None = None
) -> tuple[SegmentationNetwork, WeightsMetadata]:
    """The network of a candidate in evaluation mode, and its metadata.

    A network's name gives reproducible random weights for the classes of ``label_set``. Its batch normalisations are
    initialised with image statistics, so that activations neither vanish nor overflow in half precision. The same
    applies to the networks that ``build`` returns, under any name.

    Raises:
        LsabinetError: the name is neither a network nor weights.
    """
    if build is None and name not in list_models():
        try:
            return load_weights(name)
        except LsabinetError as error:
            raise type(error)(f"{error}; or a network: {', '.join(list_models())}") from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = create_model(name, len(label_set)) if build is None else build()
        _see_images(model)
    metadata = WeightsMetadata(name, label_set, STATISTICS_SIZE, MEAN, STD, dataset=RANDOM_WEIGHTS)
    return model.eval(), metadata


@torch.no_grad()
def _see_images(model: nn.Module) -> None:
    pictures = np.stack([make_picture(STATISTICS_SIZE, seed) for seed in range(STATISTICS_IMAGES)])
    images = torch.from_numpy(pictures[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    threads = torch.get_num_threads()
    # One thread makes the sums reproducible, and with them the keys of cached engines.
    torch.set_num_threads(1)
    try:
        for norm in norms:
            norm.momentum = None
        model.train()((images - mean) / std)
    finally:
        torch.set_num_threads(threads)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
