"""A user's own images, in a folder whose ``dataset.yaml`` describes the classes and annotations.

ROOT/dataset.yaml                    ``FolderDescription``
ROOT/train.txt val.txt test.txt      lists in the format of ``listed``
"""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from lsabinet_core.errors import DatasetError
from lsabinet_core.files import read_text
from lsabinet_core.labels import VOID, LabelSet
from lsabinet_core.settings import Settings, first_problem

from .listed import ListedDataset
from .sample import Sample

_log = logging.getLogger(__name__)

DESCRIPTION = "dataset.yaml"

Byte = Annotated[int, Field(ge=0, le=255)]


class FolderClass(Settings):
    """One class."""

    name: str = Field(min_length=1, description="name of the class")
    color: tuple[Byte, Byte, Byte] = Field(description="colour in overlays (red, green, blue)")
    ids: tuple[Byte, ...] | None = Field(None, description="annotation values (default: position in the class list)")


class FolderDescription(Settings):
    """Contents of ``dataset.yaml``."""

    name: str = Field(min_length=1, description="name of the data set, used in reports and weights files")
    licence: str = Field("not stated", description="terms for the use of weights trained on it")
    void: tuple[Byte, ...] = Field((VOID,), description="annotation values of void pixels, which are ignored")
    classes: tuple[FolderClass, ...] = Field(min_length=2, max_length=255)

    @model_validator(mode="after")
    def _each_value_once(self) -> "FolderDescription":
        owners: dict[int, str] = {}
        # The prefix distinguishes a class called "void".
        classes = [(f"class {entry.name}", self.ids(index)) for index, entry in enumerate(self.classes)]
        for owner, values in [("void", self.void), *classes]:
            for value in values:
                if owners.setdefault(value, owner) != owner:
                    raise ValueError(f"value {value} is {owners[value]} and {owner}: expected each value once")
        names = [entry.name for entry in self.classes]
        if len(set(names)) < len(names):
            raise ValueError("expected unique class names, got a duplicate")
        return self

    @model_validator(mode="after")
    def _each_color_once(self) -> "FolderDescription":
        owners: dict[tuple[int, int, int], str] = {}
        for entry in self.classes:
            owner = owners.setdefault(entry.color, entry.name)
            if owner != entry.name:
                raise ValueError(f"classes {owner} and {entry.name} have the color {list(entry.color)}: choose another")
        return self

    def ids(self, index: int) -> tuple[int, ...]:
        """Return the annotation values of class ``index``."""
        ids = self.classes[index].ids
        return (index,) if ids is None else ids

    def lookup(self) -> np.ndarray:
        """Return the ``lookup`` table of ``ListedDataset``: int16 (256,)."""
        table = np.full(256, -1, np.int16)
        for index in range(len(self.classes)):
            table[list(self.ids(index))] = index
        table[list(self.void)] = VOID
        return table


class FolderDataset(ListedDataset):
    """A split of a folder data set. For arguments and errors, see ``ListedDataset`` and ``read_description``."""

    def __init__(self, root: str | Path, split: str):
        description = read_description(Path(root) / DESCRIPTION)
        label_set = LabelSet(
            description.name,
            tuple(entry.name for entry in description.classes),
            tuple(entry.color for entry in description.classes),
        )
        super().__init__(
            root,
            split,
            name=description.name,
            licence=description.licence,
            label_set=label_set,
            lookup=description.lookup(),
        )
        self._may_be_masks = len(label_set) == 2 and description.void == (VOID,)

    def sample(self, index: int) -> Sample:
        """Read a sample. Warn once if a label of two classes looks like a mask of 0 and 255 (class 0 and void)."""
        sample = super().sample(index)
        if self._may_be_masks and set(np.unique(sample.required_label)) == {0, VOID}:
            self._may_be_masks = False
            first, second = self.label_set.names
            _log.warning(
                f"{self.pairs[index][1]}: the only class in this label is {first}; its other pixels are {VOID}, which "
                f"means void. If {VOID} stands for {second}, set `ids: [{VOID}]` for that class and `void: []` in "
                f"{DESCRIPTION}. Other such labels are not reported"
            )
        return sample


def read_description(path: Path) -> FolderDescription:
    """Read ``dataset.yaml``. Raise DatasetError if the file is missing or invalid."""
    try:
        document = yaml.safe_load(read_text(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path}: cannot be read ({reason}): expected name and classes as YAML") from None
    try:
        return FolderDescription.model_validate(document)
    except ValidationError as error:
        raise DatasetError(f"{path}: {first_problem(error, FolderDescription)}") from None
