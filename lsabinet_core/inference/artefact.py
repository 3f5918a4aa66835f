"""Exported networks: a file of an engine's own format that carries what a Segmenter needs to know of it.

format        file                        its metadata
onnx          F.onnx                      in the file
openvino      F.xml and F.bin             in the .xml
torchscript   F.pt                        in the file
tensorrt      F.engine                    F.engine.json beside it
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lsabinet_core.errors import WeightsError
from lsabinet_core.models.weights import WeightsMetadata

METADATA_KEY = "lsabinet"
FORMAT = 1

# format -> (suffix of the file that names it, module that reads its metadata)
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".pt", "tensorrt": ".engine"}


@dataclass(frozen=True)
class ExportInfo:
    """What an exported network says about itself.

    Attributes:
        metadata: of the weights file that it was made from.
        weights: ``Network.fingerprint`` of those weights.
        size: (H, W) of its input, which is uint8 (N, H, W, 3), BGR.
        batch: images at a time; None for any number.
        precision: ``fp32``, ``fp16`` or ``int8``.
        versions: of this package and of what made it.
        parity: how it compared with PyTorch in fp32 when it was exported; empty if that was not asked for.
        calibration: for int8, the frames that set the ranges and what stays in floating point.
        output: ``logits``, float32 (N, C, h, w), before the last upsampling; or ``mask``, class ids, uint8 (N, H, W).
    """

    metadata: WeightsMetadata
    weights: str
    size: tuple[int, int]
    batch: int | None
    precision: str
    versions: dict[str, str] = field(default_factory=dict)
    parity: dict = field(default_factory=dict)
    calibration: dict = field(default_factory=dict)
    output: str = "logits"

    def to_json(self) -> str:
        document = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        document["metadata"] = json.loads(self.metadata.to_json())
        return json.dumps({"format": FORMAT, **document})

    @classmethod
    def from_json(cls, text: str) -> "ExportInfo":
        """Raises KeyError, TypeError or ValueError where the document is not one of ours."""
        document = dict(json.loads(text))
        if document.pop("format") != FORMAT:
            raise ValueError(f"format {FORMAT} expected")
        document["metadata"] = WeightsMetadata.from_json(json.dumps(document["metadata"]))
        height, width = document["size"]
        document["size"] = (int(height), int(width))
        return cls(**document)


@dataclass(frozen=True)
class Artefact:
    """An exported network on disk.

    Attributes:
        path: the file that names it.
        format: ``onnx``, ``openvino``, ``torchscript`` or ``tensorrt``.
        info: what it says about itself.
    """

    path: Path
    format: str
    info: ExportInfo


def is_artefact(path: str | os.PathLike) -> bool:
    """Whether a path names an exported network, by its suffix, rather than a weights file."""
    return Path(path).suffix.lower() in SUFFIXES.values()


def open_artefact(path: str | os.PathLike) -> Artefact:
    """Read what an exported network says about itself; the engine is not loaded yet.

    Raises:
        WeightsError: no such file, a file of something else, or one that this version cannot read.
        BackendError: what reads this format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no exported network {path}: make it with `lsabinet export`")
    name = next(name for name, suffix in SUFFIXES.items() if suffix == path.suffix.lower())
    text = _READERS[name](path)
    if not text:
        raise WeightsError(f"{path} has no {METADATA_KEY!r} metadata: expected a file that `lsabinet export` wrote")
    try:
        return Artefact(path, name, ExportInfo.from_json(text))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that does not fit this version: {error!r}") from None


def _read_onnx(path: Path) -> str | None:
    from .convert import onnx_

    return onnx_.read_info(path)


def _read_openvino(path: Path) -> str | None:
    from .convert import openvino_

    return openvino_.read_info(path)


def _read_torchscript(path: Path) -> str | None:
    from .convert import torchscript

    return torchscript.read_info(path)


def _read_tensorrt(path: Path) -> str | None:
    beside = path.with_name(path.name + ".json")
    return beside.read_text(encoding="utf-8") if beside.is_file() else None


_READERS = {
    "onnx": _read_onnx,
    "openvino": _read_openvino,
    "torchscript": _read_torchscript,
    "tensorrt": _read_tensorrt,
}


@contextlib.contextmanager
def publishing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; on success its files take their places beside ``path``.

    The file that names the artefact comes last, so that it is never there without its companions.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    try:
        temporary = folder / path.name
        yield temporary
        for file in sorted(folder.iterdir(), key=lambda file: file == temporary):
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
