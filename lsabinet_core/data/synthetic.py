"""Procedurally drawn street scenes with CamVid's 11 classes and exact labels.

The data set needs no download and has no third-party licence. It serves the demo and the tests.
`lsabinet_core.data.street` draws it.
"""

from functools import lru_cache

import numpy as np

from lsabinet_core.data.sample import Sample
from lsabinet_core.data.street.camera import Camera
from lsabinet_core.data.street.layout import Street, random_street
from lsabinet_core.data.street.render import render
from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID, LabelSet

DEFAULT_SIZE = (360, 480)
SPLITS = {"train": 2000, "val": 100, "test": 100, "drive": 300}
DRIVE_RATE = 15.0

_FIRST_SEED = {"train": 1_000_000, "val": 2_000_000, "test": 3_000_000, "drive": 4_000_007}
_LENGTH_M = 110.0


class SyntheticDataset:
    """Street scenes drawn on demand; equal arguments give equal pixels.

    Splits: ``train`` (2000), ``val`` (100) and ``test`` (100) contain independent scenes; ``drive`` is one clip of 300
    frames at 15 Hz from a camera that moves along one street at about 8 m/s. No two splits share a scene.

    Attributes:
        name: ``"synthetic"``.
        split: name of the split.
        size: (height, width) of every sample.
        label_set: CamVid's 11 classes.
    """

    name = "synthetic"
    licence = "Apache-2.0 (rendered by this package)"
    label_set: LabelSet = CAMVID

    def __init__(self, split: str, size: tuple[int, int] = DEFAULT_SIZE):
        """
        Args:
            split: one of ``SPLITS``.
            size: (height, width) in pixels, each 16..4096.

        Raises:
            DatasetError: unknown split or a size out of range.
        """
        if split not in SPLITS:
            raise DatasetError(f"expected a split of the synthetic data set ({', '.join(SPLITS)}), got {split!r}")
        self.split = split
        self.size = _checked_size(size)

    def __len__(self) -> int:
        return SPLITS[self.split]

    def sample(self, index: int) -> Sample:
        """Return image uint8 (H, W, 3) BGR, label uint8 (H, W) without void pixels, and a name such as ``val_0007``.

        Raises:
            IndexError: the index is outside 0..len - 1.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"expected an index 0..{len(self) - 1} of split {self.split}, got {index}")
        name = f"{self.split}_{index:04d}"
        if self.split == "drive":
            return _drive_frame(index, self.size, name)
        return _scene(_FIRST_SEED[self.split] + index, self.size, name)


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (int(v) for v in size)
    except (TypeError, ValueError):
        raise DatasetError(f"expected a size (height, width), got {size!r}") from None
    if not (16 <= height <= 4096 and 16 <= width <= 4096):
        raise DatasetError(f"expected a size (height, width) of 16..4096 pixels each, got {height}x{width}")
    return height, width


def _scene(seed: int, size: tuple[int, int], name: str) -> Sample:
    """Render one still image with its own street, light and camera."""
    rng = np.random.default_rng(seed)
    street = random_street(rng, _LENGTH_M, 0.0)
    camera = Camera(
        position=(street.lane + float(rng.uniform(-0.5, 0.5)), float(rng.uniform(1.25, 2.0)), 0.0),
        yaw=street.course.heading(0.0) + float(rng.normal(0, 0.05)),
        pitch=float(rng.uniform(-0.02, 0.09)),
        focal=size[1] * float(rng.uniform(0.8, 1.1)),
        size=size,
    )
    image, label = render(street, camera, 0.0, seed)
    return Sample(image, label, name)


@lru_cache(maxsize=2)
def _drive_street(seed: int, duration_s: float) -> tuple[Street, float, float]:
    """Return the street of a clip, the camera height in metres and the focal length in image widths."""
    rng = np.random.default_rng(seed)
    street = random_street(rng, 8.0 * duration_s + _LENGTH_M, duration_s)
    return street, float(rng.uniform(1.35, 1.7)), float(rng.uniform(0.85, 1.0))


def drive_camera(seed: int, time_s: float, duration_s: float, size: tuple[int, int]) -> Camera:
    """Return the camera after `time_s` seconds of the clip with this seed and duration."""
    street, height, focal = _drive_street(seed, duration_s)
    s = street.speed * time_s
    return Camera(
        position=(float(street.course.center(s)) + street.lane, height, s),
        yaw=street.course.heading(s),
        # The vehicle body pitches slightly.
        pitch=0.03 + 0.002 * float(np.sin(5.1 * time_s)) + 0.0015 * float(np.sin(2.3 * time_s)),
        focal=focal * size[1],
        size=size,
    )


def _drive_frame(index: int, size: tuple[int, int], name: str) -> Sample:
    seed, duration_s, time_s = _FIRST_SEED["drive"], SPLITS["drive"] / DRIVE_RATE, index / DRIVE_RATE
    street = _drive_street(seed, duration_s)[0]
    camera = drive_camera(seed, time_s, duration_s, size)
    image, label = render(street, camera, time_s, seed + index)
    return Sample(image, label, name)
