"""Images and overlay videos that ``predict`` writes."""

import contextlib
from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.files import atomic_path

DEFAULT_FPS = 25.0
"""Rate of an overlay video whose source does not tell its own."""


def write_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 (H, W) or BGR (H, W, 3) atomically; the suffix chooses the format."""
    encoded = cv2.imencode(path.suffix, image)[1]
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)


class OverlayVideo:
    """An MP4 (MPEG-4 Part 2) that appears at ``path`` when the context ends, if any frame was written.

    The codec takes even sizes only: of an odd one OpenCV cuts the last row or column.

    Args:
        path: ends in ``.mp4``.
        fps: frames per second; None takes 25.

    Raises:
        FrameError: OpenCV here cannot write such a video.
    """

    def __init__(self, path: Path, fps: float | None):
        self._path = path
        self._fps = fps or DEFAULT_FPS
        self._writer: cv2.VideoWriter | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "OverlayVideo":
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a BGR frame uint8 (H, W, 3); all of one size."""
        if self._writer is None:
            temporary = self._stack.enter_context(atomic_path(self._path))
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(temporary), codec, self._fps, (frame.shape[1], frame.shape[0]))
            # Registered after the path, so that the file is complete before it takes its name.
            self._stack.callback(self._writer.release)
            if not self._writer.isOpened():
                raise FrameError(f"OpenCV cannot write {self._path}: its build has no MPEG-4 encoder; use --no-overlay")
        self._writer.write(frame)

    def __exit__(self, *error) -> bool | None:
        return self._stack.__exit__(*error)
