"""Writer for overlay videos."""

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.files import atomic_path
from lsabinet_core.images import name_for_opencv

DEFAULT_FPS = 25.0
"""Frame rate of the overlay video if the source does not report one."""


class OverlayVideo:
    """Context manager that writes an MP4 video (MPEG-4 Part 2) to ``path`` on exit, if it has any frames.

    The codec supports only even sizes: OpenCV crops the last row or column of an odd size.

    Args:
        path: file to write, ending in ``.mp4``.
        fps: frames per second; None for 25.

    Raises:
        FrameError: this OpenCV build has no MPEG-4 encoder, or (on exit) not all frames could be written.
    """

    def __init__(self, path: Path, fps: float | None):
        self._path = path
        self._fps = fps or DEFAULT_FPS
        self._writer: cv2.VideoWriter | None = None
        self._written = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "OverlayVideo":
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append a BGR frame, uint8 (H, W, 3); all frames must have the same size."""
        if self._writer is None:
            temporary = self._stack.enter_context(atomic_path(self._path))
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            name, size = name_for_opencv(temporary), (frame.shape[1], frame.shape[0])
            writer = self._writer = cv2.VideoWriter(name, codec, self._fps, size)
            # Registered after the path, so that the file is finished before it is renamed.
            self._stack.push(lambda error, *_: self._finish(writer, temporary, failed=error is not None))
            if not self._writer.isOpened():
                raise FrameError(f"OpenCV cannot write {self._path}: its build has no MPEG-4 encoder; use --no-overlay")
        self._writer.write(frame)
        self._written += 1

    def _finish(self, writer: cv2.VideoWriter, temporary: Path, failed: bool) -> None:
        writer.release()
        if failed:
            return
        # OpenCV does not report a full disk.
        capture = cv2.VideoCapture(str(temporary))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        capture.release()
        if found < self._written:
            raise FrameError(
                f"{self._path}: only {found} of {self._written} frames could be written: check the free disk space"
            )

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)
