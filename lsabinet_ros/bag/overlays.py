"""Videos of the frames of bags with the predicted classes in colour."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from lsabinet_core.cli.overlay_video import OverlayVideo
from lsabinet_core.errors import FrameError
from lsabinet_core.inference import Segmentation, Segmenter
from lsabinet_ros.bag.samples import BagSample, FrameSource

MIN_FPS, MAX_FPS = 1.0, 120.0
"""Rates that every player supports; for frames of other rates, the default rate of ``OverlayVideo`` is used."""


class OverlayVideos:
    """Context manager that writes ``overlay.mp4``; for several sources ``overlay_1.mp4``, ``overlay_2.mp4`` and so on.

    If a video cannot be written, the evaluation and the other videos continue.

    Args:
        folder: folder of the videos.
        sources: sources of the frames.
        segmenter: draws the overlays.
    """

    def __init__(self, folder: Path, sources: Sequence[FrameSource], segmenter: Segmenter):
        self._segmenter = segmenter
        self._sizes: dict[int, tuple[int, int]] = {}
        self._problem: str | None = None
        self._videos: dict[int, OverlayVideo] = {}
        for number, source in enumerate(sources, start=1):
            name = "overlay.mp4" if len(sources) == 1 else f"overlay_{number}.mp4"
            self._videos[id(source)] = OverlayVideo(folder / name, _rate(source))

    def __enter__(self) -> "OverlayVideos":
        return self

    def __exit__(self, *error: Any) -> None:
        """After an error, remove unfinished videos."""
        for video in self._videos.values():
            with contextlib.suppress(FrameError, OSError):
                video.__exit__(*error)
        self._videos.clear()

    def append(self, sample: BagSample, result: Segmentation) -> None:
        """Append a frame to the video of its source."""
        key = id(sample.source)
        if key not in self._videos:
            return
        overlay = self._segmenter.overlay(sample.image, result.mask)
        size = self._sizes.setdefault(key, overlay.shape[1::-1])
        try:
            self._videos[key].write(overlay if overlay.shape[1::-1] == size else cv2.resize(overlay, size))
        except (FrameError, OSError) as error:
            self._fail(key, error)

    def close(self) -> str | None:
        """Finish the videos; returns why one could not be written, or None."""
        for key, video in list(self._videos.items()):
            try:
                video.__exit__(None, None, None)
            except (FrameError, OSError) as error:
                self._fail(key, error)
        self._videos.clear()
        return self._problem

    def _fail(self, key: int, error: Exception) -> None:
        self._problem = self._problem or f"no overlay video: {error}"
        with contextlib.suppress(FrameError, OSError):
            self._videos.pop(key).__exit__(type(error), error, None)


def _rate(source: FrameSource) -> float | None:
    count, duration_s = source.bag.topics[source.topic].count, source.bag.duration_s
    rate = (count - 1) / duration_s if count > 1 and duration_s > 0 else 0.0
    return rate if MIN_FPS <= rate <= MAX_FPS else None
