"""Where frames come from: an image, a folder of images, a video file or a camera."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.errors import FrameError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class ImageSource:
    """One image file, or the images of a folder in the order of their names.

    Iterating gives ``(name, frame)``: the file's stem (its whole name, dots as underscores, where two files share a
    stem) and BGR uint8 (H, W, 3). A file that cannot be read is left out and listed in ``unreadable``.

    Attributes:
        count: number of files.
        fps: None: images have no rate.
        unreadable: paths that could not be read so far.
    """

    kind = "images"
    fps = None

    def __init__(self, paths: list[Path]):
        self._paths = paths
        self.count = len(paths)
        self.unreadable: list[Path] = []

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        stems = Counter(path.stem for path in self._paths)
        for path in self._paths:
            name = path.stem if stems[path.stem] == 1 else path.name.replace(".", "_")
            frame = _read_image(path)
            if frame is None:
                self.unreadable.append(path)
            else:
                yield name, frame

    def close(self) -> None:
        pass


class VideoSource:
    """A video file, frame by frame.

    Iterating gives ``(name, frame)``: ``<file stem>_<six-digit frame number>`` and BGR uint8 (H, W, 3).

    Attributes:
        count: number of frames as the file declares it, which may be off; None if it does not.
        fps: frames per second; None if the file does not say.
    """

    kind = "video"

    def __init__(self, path: Path):
        self._path = path
        self._capture = _open_capture(str(path))
        if self._capture is None:
            raise FrameError(f"{path} is not a video (or image) that OpenCV can read")
        count, fps = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        self.count = int(count) if count > 0 else None
        self.fps = fps if fps > 0 else None
        self.unreadable: list[Path] = []

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        index = 0
        while True:
            found, frame = self._capture.read()
            if not found:
                break
            yield f"{self._path.stem}_{index:06d}", frame
            index += 1
        if index == 0:
            raise FrameError(f"{self._path} holds no frame that can be decoded")

    def close(self) -> None:
        self._capture.release()


class CameraSource:
    """A camera by its index, without end.

    Iterating gives ``(name, frame)``: ``frame_<six-digit number>`` and BGR uint8 (H, W, 3); FrameError when the camera
    stops giving frames.
    """

    kind = "camera"
    count = None

    def __init__(self, index: int):
        self._index = index
        self._capture = _open_capture(index)
        if self._capture is None:
            raise FrameError(f"camera {index} cannot be opened: is it plugged in, and not in use by another program?")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None
        self.unreadable: list[Path] = []

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        index = 0
        while True:
            found, frame = self._capture.read()
            if not found:
                raise FrameError(f"camera {self._index} stopped giving frames after {index}")
            yield f"frame_{index:06d}", frame
            index += 1

    def close(self) -> None:
        self._capture.release()


FrameSource = ImageSource | VideoSource | CameraSource


def open_source(source: str | os.PathLike) -> FrameSource:
    """Open an image file, a folder of images, a video file, or a camera by its index (``"0"``).

    Raises:
        FrameError: no such file or camera, a folder without images, or a file that is neither image nor video.
    """
    path = Path(source)
    if path.is_dir():
        paths = sorted(entry for entry in path.iterdir() if _is_image_name(entry) and entry.is_file())
        if not paths:
            raise FrameError(f"{path} holds no image: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
        return ImageSource(paths)
    if path.is_file():
        if not _is_image_name(path):
            return VideoSource(path)
        if _read_image(path) is None:
            raise FrameError(f"{path} is not an image that OpenCV can read")
        return ImageSource([path])
    if str(source).isdecimal():
        return CameraSource(int(source))
    raise FrameError(f"no input {str(source)!r}: expected an image, a folder of images, a video or a camera index")


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _read_image(path: Path) -> np.ndarray | None:
    try:
        return cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:
        # Some broken files raise instead of giving None, e.g. a header that declares an absurd size.
        return None


def _open_capture(source: str | int) -> cv2.VideoCapture | None:
    # What FFmpeg and OpenCV print about a file they cannot open says less than our own error.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        capture = cv2.VideoCapture(source)
        if capture.isOpened():
            return capture
        capture.release()
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
