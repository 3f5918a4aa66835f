"""The average of several trained weights of one network (Wortsman et al., Model soups, ICML 2022)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lsabinet_core.errors import WeightsError

from .blocks import SegmentationNetwork
from .weights import WeightsMetadata, load_weights

MIN_SIMILARITY = 0.9
"""Cosine of two networks' convolution weights below which they did not begin from the same trained weights."""


@torch.no_grad()
def average_weights(files: Sequence[str]) -> tuple[SegmentationNetwork, WeightsMetadata]:
    """The mean of every parameter and batch-norm statistic.

    The runs must have begun from the same trained weights: only then does their average perform like the runs
    themselves, or better.

    Args:
        files: at least two weights files or names of shipped weights.

    Returns:
        The network (fp32, on the CPU, in evaluation mode), and its metadata: the data sets and licences of all files,
        and their training under ``average_of``. It has no validation mIoU, because that of an average is not known.

    Raises:
        WeightsError: fewer than two files; one cannot be loaded; or its network, classes, normalisation or parameters
            differ too much from those of the first.
    """
    if len(files) < 2:
        raise WeightsError(f"expected at least two weights files to average, got {len(files)}")
    average, first = load_weights(files[0])
    sums = {key: tensor.double() for key, tensor in average.state_dict().items()}
    start = _convolutions(average)
    all_metadata = [first]
    for file in files[1:]:
        model, metadata = load_weights(file)
        _check_fits(file, metadata, files[0], first)
        similarity = torch.cosine_similarity(start, _convolutions(model), dim=0).item()
        if similarity < MIN_SIMILARITY:
            raise WeightsError(
                f"{file}: expected a run that began from the same trained weights as {files[0]} (cosine of their "
                f"convolution weights at least {MIN_SIMILARITY:g}), got {similarity:.2f}"
            )
        for key, tensor in model.state_dict().items():
            sums[key] += tensor
        all_metadata.append(metadata)
    # Counters of batches are integers; copy_ truncates their mean.
    average.load_state_dict({key: total / len(files) for key, total in sums.items()})
    return average, replace(
        first,
        dataset=_joined(metadata.dataset for metadata in all_metadata),
        licence=_joined(metadata.licence for metadata in all_metadata),
        training={
            "average_of": [
                {"file": str(file), "dataset": metadata.dataset, **metadata.training}
                for file, metadata in zip(files, all_metadata, strict=True)
            ]
        },
    )


def _check_fits(file: str, metadata: WeightsMetadata, first_file: str, first: WeightsMetadata) -> None:
    for name, found, expected in (
        ("network", (metadata.architecture, metadata.options), (first.architecture, first.options)),
        ("classes", metadata.label_set.names, first.label_set.names),
        ("normalisation", (metadata.mean, metadata.std), (first.mean, first.std)),
    ):
        if found != expected:
            raise WeightsError(f"{file}: expected the {name} of {first_file}, {expected}, got {found}")


def _convolutions(model: SegmentationNetwork) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in model.parameters() if parameter.ndim > 1])


def _joined(texts: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(texts))
