"""Weights files: safetensors with all metadata for inference in the header.

The metadata key ``lsabinet`` contains one JSON document: name and options of the network, class names and colours, the
input size and normalisation used in training, the data set with its licence, and a summary of the training run. Loading
executes no code from the file.
"""

import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import safetensors
import safetensors.torch
import torch
from torch import nn

from lsabinet_core.errors import ModelError, WeightsError
from lsabinet_core.files import atomic_path
from lsabinet_core.labels import LabelSet
from lsabinet_core.settings import STRICT, parse_document
from lsabinet_core.share import share_directory

from . import create_model
from .blocks import SegmentationNetwork

METADATA_KEY = "lsabinet"
FORMAT = 1
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class WeightsMetadata:
    """Metadata of a weights file.

    Attributes:
        architecture: name for ``create_model``.
        options: options of the network, e.g. ``{"lrfa": True}``.
        label_set: class names and colours; its length is the number of classes.
        input_size: (height, width) in pixels used in training.
        mean: normalisation mean of red, green, blue, for images in 0..1.
        std: normalisation standard deviation of red, green, blue, for images in 0..1.
        dataset: data set and split used in training.
        licence: terms for the use of the weights that follow from the data.
        training: summary of the run: recipe, seed, steps, metrics.
    """

    __pydantic_config__: ClassVar = STRICT

    architecture: str
    label_set: LabelSet
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    options: dict[str, bool] = field(default_factory=dict)
    dataset: str = "unknown"
    licence: str = "unknown"
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        if min(self.input_size) < 1:
            raise ValueError(f"expected an input size of at least 1x1, got {self.input_size}")
        if not all(map(math.isfinite, self.mean)) or not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"expected a finite mean and a positive std, got {self.mean} and {self.std}")

    @property
    def is_non_commercial(self) -> bool:
        """Whether the text of the licence excludes commercial use."""
        return re.search(r"\bNC\b|non-?commercial|research use", self.licence, re.IGNORECASE) is not None

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "WeightsMetadata":
        """Parse the JSON document. Raise KeyError, TypeError or ValueError if it is invalid."""
        document = dict(json.loads(text))
        if document.pop("format") != FORMAT:
            raise ValueError(f"format {FORMAT} expected")
        return parse_document(cls, document)


def find_weights(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the file for a path or for the name of shipped weights.

    Raises:
        WeightsError: neither a file nor a shipped name; the message lists the shipped names.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    shipped = share_directory() / "weights"
    named = shipped / f"{path_or_name}{SUFFIX}"
    if path.name == str(path_or_name) and named.is_file():
        return named
    names = ", ".join(list_weights()) or "none"
    raise WeightsError(f"no weights {str(path_or_name)!r}: expected a {SUFFIX} file or a shipped name ({names})")


def list_weights() -> list[str]:
    """Return the names of the shipped weights, sorted."""
    return sorted(file.stem for file in (share_directory() / "weights").glob(f"*{SUFFIX}"))


def save_weights(
    path: str | Path, model: nn.Module, metadata: WeightsMetadata, dtype: torch.dtype = torch.float16
) -> None:
    """Write the parameters and buffers of a network with their metadata, atomically.

    Floating-point tensors are stored as ``dtype``; a tensor with a value beyond its range, such as the running variance
    of a strong channel, as float32.

    Raises:
        WeightsError: a value is not finite; the message names the tensor.
    """
    tensors = {}
    for key, tensor in model.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        if stored.is_floating_point():
            if not torch.isfinite(stored).all():
                raise WeightsError(f"tensor {key!r} holds values that are not finite: the training diverged")
            converted = stored.to(dtype)
            stored = converted if torch.isfinite(converted).all() else stored.float()
        tensors[key] = stored
    # save_file would create a file that only its owner can read.
    content = safetensors.torch.save(tensors, metadata={METADATA_KEY: metadata.to_json()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_metadata(path_or_name: str | os.PathLike[str]) -> WeightsMetadata:
    """Read the metadata without the tensors. For errors, see ``load_weights``."""
    path = find_weights(path_or_name)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}): copy it again or retrain; an exported model is not a "
            "weights file"
        ) from None
    if METADATA_KEY not in header:
        raise WeightsError(f"{path} has no {METADATA_KEY!r} metadata: expected a weights file written by lsabinet")
    try:
        return WeightsMetadata.from_json(header[METADATA_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that does not fit this version: {error!r}") from None


def load_weights(path_or_name: str | os.PathLike[str]) -> tuple[SegmentationNetwork, WeightsMetadata]:
    """Load the network of a weights file (fp32, on the CPU, in evaluation mode) and its metadata.

    Raises:
        WeightsError: the file is missing, truncated, of another format or does not match the network; the message names
            the key or tensor.
    """
    path = find_weights(path_or_name)
    metadata = read_metadata(path)
    try:
        model = create_model(metadata.architecture, len(metadata.label_set), **metadata.options)
    except ModelError as error:
        raise WeightsError(f"{path} contains a network that this version cannot build: {error}") from None
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): copy it again or retrain") from None
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return model.eval(), metadata


def _check_tensors(path: Path, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for key, tensor in expected.items():
        if key not in found:
            raise WeightsError(f"{path} lacks tensor {key!r} of the network named in its metadata")
        if found[key].shape != tensor.shape:
            raise WeightsError(
                f"{path}: tensor {key!r} has shape {tuple(found[key].shape)}, the network expects {tuple(tensor.shape)}"
            )
        if found[key].is_floating_point() and not torch.isfinite(found[key]).all():
            raise WeightsError(f"{path}: tensor {key!r} holds values that are not finite")
    extra = sorted(set(found) - set(expected))
    if extra:
        raise WeightsError(f"{path} has tensor {extra[0]!r}, which the network that it names does not have")


def total_iterations(training: dict) -> int | None:
    """Iterations of the run that a weights file records, plus those of all earlier rounds.

    Of averaged weights, the sum over the averaged runs; None if the iterations of one run are not recorded.
    """
    earlier = [training["first_round"]] if "first_round" in training else []
    if "average_of" in training:
        counts = [total_iterations(run) for run in [*training["average_of"], *earlier]]
    else:
        counts = [training.get("iterations"), *map(total_iterations, earlier)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
