"""The frames of several cameras for a new bag, merged by time."""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.sources import FileSource, TimedSample
from lsabinet_ros.bag.topics import check_topic_names


@dataclass(frozen=True)
class CameraSample(TimedSample):
    """A frame of one of several cameras.

    Attributes:
        camera: the name of the camera.
    """

    camera: str


class CameraSources:
    """A folder of images or a video for each camera; frames of the same time come in the order of the cameras.

    Args:
        folder: has a folder ``NAME`` or a video ``NAME.*`` for each camera.
        cameras: names of the cameras.
        labels: has a folder of labels ``NAME`` for each camera that has labels; None without labels.
        void: as for ``FileSource``.
        rate: frames per second; None takes the stamps of the videos.
        limit: maximum number of frames of each camera; None for all.

    Attributes:
        count: number of frames of all cameras; None if it is unknown for a video.
        rate, has_times: None and True: every sample has a time.
        lost: describes what could not be decoded of a video, or None; set when the iteration ends.

    Raises:
        BagError: a camera without images, a name that is given twice, or an unknown frame rate.
        FrameError: see ``FileSource``.
    """

    rate: Fraction | None = None
    has_times = True

    def __init__(
        self,
        folder: Path,
        cameras: Sequence[str],
        *,
        labels: Path | None = None,
        void: int | None = None,
        rate: Fraction | None = None,
        limit: int | None = None,
    ):
        if len(set(cameras)) < len(cameras):
            raise BagError(f"expected different camera names, got {', '.join(cameras)}")
        for name in cameras:
            check_topic_names(f"/{name}")
        self._limit = limit
        self._sources: dict[str, FileSource] = {}
        self._rates: dict[str, Fraction | None] = {}
        for name in cameras:
            own_labels = labels / name if labels is not None and (labels / name).exists() else None
            source = FileSource(_find(folder, name), own_labels, void)
            self._sources[name] = source
            self._rates[name] = rate or (None if source.has_times else source.rate)
            if self._rates[name] is None and not source.has_times:
                raise BagError("the frame rate is unknown: set it with --rate, for example --rate 15")
        if labels is not None and not any((labels / name).exists() for name in cameras):
            raise BagError(f"no folder of labels for any of the cameras {', '.join(cameras)} in {labels}")
        counts = [source.count for source in self._sources.values()]
        known = [count if limit is None else min(count, limit) for count in counts if count is not None]
        self.count = sum(known) if len(known) == len(counts) else None

    @property
    def lost(self) -> str | None:
        return "; ".join(source.lost for source in self._sources.values() if source.lost) or None

    def __iter__(self) -> Iterator[CameraSample]:
        return heapq.merge(*map(self._samples, self._sources), key=lambda sample: sample.time_s)

    def _samples(self, camera: str) -> Iterator[CameraSample]:
        rate = self._rates[camera]
        for index, sample in enumerate(itertools.islice(self._sources[camera], self._limit)):
            if rate is not None:
                time_s = index / rate
            else:
                assert isinstance(sample, TimedSample), "its source has times"
                time_s = sample.time_s
            yield CameraSample(sample.image, sample.label, sample.name, time_s, camera)


def _find(folder: Path, camera: str) -> Path:
    found = [path for path in sorted(folder.glob("*")) if camera in (path.name, path.stem)]
    if len(found) != 1:
        what = "several entries" if found else "nothing"
        raise BagError(f"expected a folder of images or a video for the camera {camera} in {folder}, found {what}")
    return found[0]
