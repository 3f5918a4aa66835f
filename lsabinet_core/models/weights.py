"""Weights files: safetensors with everything inference needs in the header.

A file carries the network's name and options, class names and colours, the input size and normalisation it was trained
with, the data set with its licence, and a summary of the training, as one JSON document under the metadata key
``lsabinet``. Loading executes nothing from the file.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from lsabinet_core.errors import ModelError, WeightsError
from lsabinet_core.files import atomic_path
from lsabinet_core.labels import LabelSet
from lsabinet_core.share import share_directory

from . import create_model

METADATA_KEY = "lsabinet"
FORMAT = 1
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class WeightsMetadata:
    """What a weights file says about itself.

    Attributes:
        architecture: name for ``create_model``.
        options: the network's switches, e.g. ``{"lrfa": True}``.
        label_set: class names and colours; its length is the number of classes.
        input_size: (height, width) in pixels that the network was trained for.
        mean: of red, green, blue, for images in 0..1.
        std: of red, green, blue, for images in 0..1.
        dataset: what it was trained on.
        licence: terms of that data that bind who uses the weights.
        training: summary of the run: recipe, seed, steps, figures.
    """

    architecture: str
    label_set: LabelSet
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    options: dict[str, bool] = field(default_factory=dict)
    dataset: str = "unknown"
    licence: str = "unknown"
    training: dict = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "WeightsMetadata":
        """Raises KeyError, TypeError or ValueError where the document is not one of ours."""
        document = dict(json.loads(text))
        if document.pop("format") != FORMAT:
            raise ValueError(f"format {FORMAT} expected")
        labels = document["label_set"]
        document["label_set"] = LabelSet(
            labels["name"], tuple(labels["names"]), tuple(tuple(color) for color in labels["colors"])
        )
        for key, length in (("input_size", 2), ("mean", 3), ("std", 3)):
            document[key] = tuple(document[key])
            if len(document[key]) != length:
                raise ValueError(f"{key} has {len(document[key])} numbers, expected {length}")
        return cls(**document)


def find_weights(path_or_name: str | Path) -> Path:
    """The file behind a path or the name of weights that ship with the package.

    Raises:
        WeightsError: neither a file nor a shipped name; lists the shipped names.
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
    """Names of the weights that ship with the package."""
    return sorted(file.stem for file in (share_directory() / "weights").glob(f"*{SUFFIX}"))


def save_weights(
    path: str | Path, model: nn.Module, metadata: WeightsMetadata, dtype: torch.dtype = torch.float16
) -> None:
    """Write the network's parameters and buffers with their metadata, atomically.

    Floating-point tensors are stored as ``dtype``.

    Raises:
        WeightsError: a value is not finite in ``dtype``; names the tensor.
    """
    tensors = {}
    for key, tensor in model.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        if stored.is_floating_point():
            stored = stored.to(dtype)
            if not torch.isfinite(stored).all():
                raise WeightsError(f"tensor {key!r} is not finite as {dtype}: the training diverged, or needs float32")
        tensors[key] = stored
    # Not save_file, which makes a file that only its owner may read.
    content = safetensors.torch.save(tensors, metadata={METADATA_KEY: metadata.to_json()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_metadata(path_or_name: str | Path) -> WeightsMetadata:
    """The metadata alone, without reading the tensors. Raises WeightsError as ``load_weights`` does."""
    path = find_weights(path_or_name)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}): copy or train it again; an exported network is no "
            "weights file"
        ) from None
    if METADATA_KEY not in header:
        raise WeightsError(f"{path} has no {METADATA_KEY!r} metadata: expected a file that lsabinet wrote")
    try:
        return WeightsMetadata.from_json(header[METADATA_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that does not fit this version: {error!r}") from None


def load_weights(path_or_name: str | Path) -> tuple[nn.Module, WeightsMetadata]:
    """The network of a weights file, fp32, on the CPU, in evaluation mode, and the file's metadata.

    Raises:
        WeightsError: the file is missing, truncated, foreign or does not match the network; names the key or tensor.
    """
    path = find_weights(path_or_name)
    metadata = read_metadata(path)
    try:
        model = create_model(metadata.architecture, len(metadata.label_set), **metadata.options)
    except ModelError as error:
        raise WeightsError(f"{path} holds a network that this version cannot build: {error}") from None
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): copy or train it again") from None
    _check_tensors(path, tensors, model.state_dict())
    model.load_state_dict(tensors)
    return model.eval(), metadata


def _check_tensors(path: Path, found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for key, tensor in expected.items():
        if key not in found:
            raise WeightsError(f"{path} lacks tensor {key!r}: it does not belong to the network that it names")
        if found[key].shape != tensor.shape:
            raise WeightsError(
                f"{path}: tensor {key!r} has shape {tuple(found[key].shape)}, the network expects {tuple(tensor.shape)}"
            )
        if found[key].is_floating_point() and not torch.isfinite(found[key]).all():
            raise WeightsError(f"{path}: tensor {key!r} holds values that are not finite")
    extra = sorted(set(found) - set(expected))
    if extra:
        raise WeightsError(f"{path} has tensor {extra[0]!r}, which the network that it names does not have")
