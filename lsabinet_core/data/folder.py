"""Images of one's own, in a folder that says what its annotations mean.

ROOT/dataset.yaml                    ``FolderDescription``
ROOT/train.txt val.txt test.txt      as ``listed`` has them
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import VOID, LabelSet
from lsabinet_core.settings import Settings, first_problem

from .listed import ListedDataset

DESCRIPTION = "dataset.yaml"

Byte = Annotated[int, Field(ge=0, le=255)]


class FolderClass(Settings):
    """One class."""

    name: str = Field(min_length=1, description="for people")
    color: tuple[Byte, Byte, Byte] = Field(description="red, green, blue in overlays")
    ids: tuple[Byte, ...] | None = Field(None, description="values in the annotations; the place in the list if absent")


class FolderDescription(Settings):
    """What ``dataset.yaml`` holds."""

    name: str = Field(min_length=1, description="of the data set, in reports and in the weights")
    licence: str = Field("not stated", description="what binds whoever uses weights trained on it")
    void: tuple[Byte, ...] = Field((VOID,), description="values of unlabelled pixels, which are left out")
    classes: tuple[FolderClass, ...] = Field(min_length=2, max_length=255)

    @model_validator(mode="after")
    def _each_value_once(self) -> "FolderDescription":
        owners: dict[int, str] = {}
        # A class may be called void, too.
        classes = [(f"class {entry.name}", self.ids(index)) for index, entry in enumerate(self.classes)]
        for owner, values in [("void", self.void), *classes]:
            for value in values:
                if owners.setdefault(value, owner) != owner:
                    raise ValueError(f"value {value} is {owners[value]} and {owner}: expected each value once")
        names = [entry.name for entry in self.classes]
        if len(set(names)) < len(names):
            raise ValueError("expected every class to have a name of its own")
        return self

    def ids(self, index: int) -> tuple[int, ...]:
        """The annotations' values of class ``index``."""
        return (index,) if self.classes[index].ids is None else self.classes[index].ids

    def lookup(self) -> np.ndarray:
        """As ``ListedDataset`` takes it."""
        table = np.full(256, -1, np.int16)
        for index in range(len(self.classes)):
            table[list(self.ids(index))] = index
        table[list(self.void)] = VOID
        return table


class FolderDataset(ListedDataset):
    """A split of a folder with its own classes. Arguments and errors as ``ListedDataset``; also a bad description."""

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


def read_description(path: Path) -> FolderDescription:
    """Raises DatasetError for a file that is missing or is not what it should be; says what is wrong."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path}: cannot be read ({reason}): expected name and classes as YAML") from None
    try:
        return FolderDescription.model_validate(document)
    except ValidationError as error:
        raise DatasetError(f"{path}: {first_problem(error, FolderDescription)}") from None
