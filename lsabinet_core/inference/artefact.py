"""Exported models: files in an engine's own format with the metadata that a Segmenter needs.

format        file                        its metadata
onnx          F.onnx                      in the file
openvino      F.xml and F.bin             in the .xml
torchscript   F.pt                        in the file
tensorrt      F.engine                    F.engine.json next to it
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
from typing import ClassVar

from lsabinet_core.errors import WeightsError
from lsabinet_core.files import errors_name
from lsabinet_core.inference.convert import METADATA_KEY, onnx_, openvino_, torchscript
from lsabinet_core.models.weights import WeightsMetadata
from lsabinet_core.settings import STRICT, parse_document

FORMAT = 1

# format -> suffix of the file that names the export
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".pt", "tensorrt": ".engine"}


@dataclass(frozen=True)
class ExportInfo:
    """Metadata of an exported model.

    Attributes:
        metadata: metadata of the weights file that it was made from.
        weights: ``Network.fingerprint`` of these weights.
        size: (H, W) of its input, which is uint8 (N, H, W, 3), BGR; None for any.
        batch: images per call; None for any number.
        precision: ``fp32``, ``fp16`` or ``int8``.
        versions: versions of this package and of the converter.
        parity: comparison with PyTorch in fp32 during the export; empty if it was not requested.
        calibration: for int8, the calibration frames and the operators that stay in floating point.
        output: ``logits``, float32 (N, C, h, w), before the final upsampling; or ``mask``, class ids, uint8 (N, H, W).
    """

    __pydantic_config__: ClassVar = STRICT

    metadata: WeightsMetadata
    weights: str
    size: tuple[int, int] | None
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
        """Raises KeyError, TypeError or ValueError if the document was not written by ``to_json``."""
        document = dict(json.loads(text))
        if document.pop("format") != FORMAT:
            raise ValueError(f"format {FORMAT} expected")
        metadata = WeightsMetadata.from_json(json.dumps(document["metadata"]))
        document["metadata"] = dataclasses.asdict(metadata)
        return parse_document(cls, document)


@dataclass(frozen=True)
class Artefact:
    """An exported model on disk.

    Attributes:
        path: the file that names the export.
        format: ``onnx``, ``openvino``, ``torchscript`` or ``tensorrt``.
        info: metadata of the model.
    """

    path: Path
    format: str
    info: ExportInfo


def is_artefact(path: str | os.PathLike) -> bool:
    """Whether a path names an exported model rather than a weights file, judged by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES.values()


def open_artefact(path: str | os.PathLike) -> Artefact:
    """Read the metadata of an exported model without loading the engine.

    Raises:
        WeightsError: the file does not exist, has another format, or cannot be read by this version.
        BackendError: the package that reads this format is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no exported model {path}: create it with `lsabinet export`")
    name = next(name for name, suffix in SUFFIXES.items() if suffix == path.suffix.lower())
    text = _READERS[name](path)
    if not text:
        raise WeightsError(f"{path} has no {METADATA_KEY!r} metadata: expected a file written by `lsabinet export`")
    try:
        return Artefact(path, name, ExportInfo.from_json(text))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that does not fit this version: {error!r}") from None


def _read_tensorrt(path: Path) -> str | None:
    beside = path.with_name(path.name + ".json")
    return beside.read_text(encoding="utf-8") if beside.is_file() else None


_READERS = {
    "onnx": onnx_.read_info,
    "openvino": openvino_.read_info,
    "torchscript": torchscript.read_info,
    "tensorrt": _read_tensorrt,
}


@contextlib.contextmanager
def publishing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; on success its files move to the folder of ``path``.

    The file that names the exported model is moved last, so that it never exists without its companions.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    temporary = folder / path.name
    try:
        with errors_name(path, temporary):
            yield temporary
            for file in sorted(folder.iterdir(), key=lambda file: file == temporary):
                with open(file, "rb") as stream:
                    os.fsync(stream.fileno())
                os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
