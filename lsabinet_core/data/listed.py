"""Folders with lists of image-annotation pairs, in the layout of SegNet-Tutorial.

ROOT/train.txt val.txt test.txt      lines "image annotation", paths relative to ROOT; only requested lists must exist
annotations                          single-channel PNGs, grey or palette, of the image's size

Images may come from several drives (sequences), named by the file name up to the first underscore (0006R0_000930.png).
If ``train`` and ``val`` contain frames of the same drive, the validation score is too optimistic. For this reason there
are leave-one-sequence-out folds over train + val: ``drives:0006R0:train`` is every drive but 0006R0, and
``drives:0006R0:val`` is 0006R0 alone.
"""

from pathlib import Path

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.files import read_text
from lsabinet_core.labels import LabelSet

from .files import check_pair, read_image, read_label
from .sample import Sample

LISTS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
DRIVE_SPLITS = ("train", "val")
"""Splits from which the folds are built; never the test split."""

Pair = tuple[Path, Path]


class ListedDataset:
    """A split of such a folder; samples are read from disk on access.

    Args:
        root: the folder.
        split: ``train``, ``val``, ``test``, ``trainval`` or a fold.
        name: name of the data set.
        licence: terms for the use of the images and of weights trained on them.
        label_set: the classes.
        lookup: int16 (256,), the class id or VOID for each annotation value, -1 for invalid values.
        prefix: prefix to remove from the listed paths.

    Raises:
        DatasetError: unknown split or drive, a missing list or file, or an invalid line; the message names it.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        name: str,
        licence: str,
        label_set: LabelSet,
        lookup: np.ndarray,
        prefix: str = "",
    ):
        self.name, self.licence, self.label_set, self.split = name, licence, label_set, split
        self.root = Path(root)
        self._lookup = lookup
        self._prefix = prefix
        self.pairs = self._listed(LISTS[split]) if split in LISTS else self._fold(split)

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int) -> Sample:
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), read_label(label_path, self._lookup)
        check_pair(image, label, image_path, label_path)
        return Sample(image, label, image_path.stem)

    def drives(self) -> list[str]:
        """Return the sorted names of the drives in train + val. Raise DatasetError if a file name has no drive."""
        return sorted({_drive(image) for image, _ in self._listed(DRIVE_SPLITS)})

    def _fold(self, split: str) -> list[Pair]:
        kind, _, rest = split.partition(":")
        drive, _, part = rest.rpartition(":")
        if kind != "drives" or part not in ("train", "val"):
            choices = ", ".join((*LISTS, *drive_fold("NAME")))
            raise DatasetError(f"unknown split {split!r} of {self.name}: choose one of {choices}")
        drives = self.drives()
        if drive not in drives:
            raise DatasetError(f"unknown drive {drive!r} in split {split!r}: {self.root} has {', '.join(drives)}")
        if len(drives) == 1:
            raise DatasetError(f"split {split!r} needs two drives or more: {self.root} has only {drive}")
        return [pair for pair in self._listed(DRIVE_SPLITS) if (_drive(pair[0]) == drive) == (part == "val")]

    def _listed(self, lists: tuple[str, ...]) -> list[Pair]:
        return [pair for name in lists for pair in self._read_list(name)]

    def _read_list(self, name: str) -> list[Pair]:
        path = self.root / f"{name}.txt"
        try:
            lines = read_text(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}): expected a text file of lines 'image annotation'"
            ) from None
        pairs = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            parts = line.split()
            if len(parts) != 2:
                raise DatasetError(f"{path}, line {number}: expected 'image annotation', got {line.strip()!r}")
            image, annotation = (self.root / part.removeprefix(self._prefix).lstrip("/") for part in parts)
            for file in (image, annotation):
                if not file.is_file():
                    hint = ": separate folders with / instead of \\" if "\\" in file.name else ""
                    raise DatasetError(f"{path}, line {number}: {file} does not exist{hint}")
            pairs.append((image, annotation))
        if not pairs:
            raise DatasetError(f"{path}: lists no images")
        return pairs


def drive_fold(drive: str) -> tuple[str, str]:
    """Return the names of the two splits of a fold: all drives but ``drive``, and ``drive`` alone."""
    return f"drives:{drive}:train", f"drives:{drive}:val"


def _drive(image: Path) -> str:
    drive, separator, _ = image.stem.partition("_")
    if not separator or not drive:
        raise DatasetError(f"{image}: expected a file name that starts with its drive, such as 0006R0_000930.png")
    return drive
