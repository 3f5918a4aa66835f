"""Sources of frames: an image, a folder of images, a video file, a camera, or a source of another package."""

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.images import name_for_opencv, read_image

_log = logging.getLogger(__name__)

_SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""

ENTRY_POINTS = "lsabinet.sources"
"""Group of the entry points by which other packages add sources: the name is the suffix of their files without its dot,
the value a class that takes the path and is a ``FrameSource``."""

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class ImageSource:
    """One image file, or the images of a folder in the order of their names.

    Iterating yields ``(name, frame)``: the file's stem and BGR uint8 (H, W, 3). If several files share a stem, the name
    is the whole file name with underscores for dots, and a number if that is taken. Unreadable files are skipped and
    listed in ``unreadable``.

    Attributes:
        count: number of files.
        fps: None, because images have no frame rate.
        unreadable: paths that could not be read so far, each with the reason in one line that names the path.
    """

    kind = "images"
    fps = time_s = lost = None

    def __init__(self, paths: list[Path]):
        self._paths = paths
        self.count = len(paths)
        self.unreadable: dict[Path, str] = {}

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for path, name in zip(self._paths, _distinct_names(self._paths)):
            try:
                frame = _read_regular(path)
            except FrameError as error:
                self.unreadable[path] = str(error)
            else:
                yield name, frame

    def close(self) -> None:
        pass


class VideoSource:
    """A video file read by OpenCV, frame by frame; used only if PyAV, for ``video.AvVideoSource``, is not installed.

    Iterating yields ``(name, frame)``: ``<file stem>_<six-digit frame number>`` and BGR uint8 (H, W, 3). If the file
    has fewer frames than it declares, a warning is logged.

    Attributes:
        count: number of frames that the file declares, which may be wrong; None if it declares none.
        fps: frames per second; None if the file does not declare them.
        time_s: None, because OpenCV does not report the time stamps of all containers.
        lost: description of what could not be decoded, or None; set when the iteration ends.
    """

    kind = "video"
    time_s = None

    def __init__(self, path: Path):
        self._path = path
        capture = _open_capture(name_for_opencv(path))
        if capture is None:
            raise FrameError(f"{path} is not a video (or image) that can be read")
        self._capture = capture
        count, fps = self._capture.get(cv2.CAP_PROP_FRAME_COUNT), self._capture.get(cv2.CAP_PROP_FPS)
        self.count = int(count) if count > 0 else None
        self.fps = fps if fps > 0 else None
        self.lost: str | None = None
        self.unreadable: dict[Path, str] = {}

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
        if self.count is not None and index < self.count:
            self.lost = (
                f"{self._path} declares {self.count} frames, but only {index} could be decoded: it is truncated or "
                "damaged, or its frame count is an estimate, as in files with a variable frame rate"
            )
            _log.warning(self.lost)

    def close(self) -> None:
        self._capture.release()


class CameraSource:
    """A camera, selected by its index; its frames never end.

    Iterating yields ``(name, frame)``: ``frame_<six-digit number>`` and BGR uint8 (H, W, 3); raises FrameError if the
    camera stops delivering frames.
    """

    kind = "camera"
    count = time_s = lost = None

    def __init__(self, index: int):
        self._index = index
        capture = _open_capture(index)
        if capture is None:
            raise FrameError(f"camera {index} cannot be opened: is it plugged in, and not in use by another program?")
        self._capture = capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if fps > 0 else None
        self.unreadable: dict[Path, str] = {}

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        index = 0
        while True:
            found, frame = self._capture.read()
            if not found:
                raise FrameError(f"camera {self._index} stopped delivering frames after {index}")
            yield f"frame_{index:06d}", frame
            index += 1

    def close(self) -> None:
        self._capture.release()


class FrameSource(Protocol):
    """The interface of the sources that ``open_source`` returns; its attributes are those of ``ImageSource``."""

    kind: str
    unreadable: dict[Path, str]

    @property
    def count(self) -> int | None: ...

    @property
    def fps(self) -> float | None: ...

    @property
    def time_s(self) -> Fraction | None: ...

    @property
    def lost(self) -> str | None: ...

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]: ...

    def close(self) -> None: ...


def open_source(source: str | os.PathLike) -> FrameSource:
    """Open an image file, a folder of images, a video file, a camera by its index (``"0"``), or a file or folder of a
    kind that another package adds, such as the bags of lsabinet_ros.

    Raises:
        FrameError: no such file or camera, a folder without images, or a file that is neither image nor video.
        LsabinetError: raised by the source of another package.
    """
    path = Path(source)
    if (entry := _added_source(path)) is not None:
        return entry.load()(path)
    if path.is_dir():
        return ImageSource(list_images(path))
    if path.is_file():
        if not _is_image_name(path):
            return _open_video(path)
        read_image(path)
        return ImageSource([path])
    if str(source).isdecimal():
        return CameraSource(int(str(source)))
    raise FrameError(f"no input {str(source)!r}: expected an image, a folder of images, a video or a camera index")


def _added_source(path: Path) -> metadata.EntryPoint | None:
    """The source that another package has for a file with that suffix, or for a rosbag2 folder of such files."""
    bag = path.is_dir() and (path / "metadata.yaml").is_file()
    suffixes = {entry.suffix for entry in path.iterdir()} if bag else {path.suffix} if path.is_file() else set()
    added = metadata.entry_points(group=ENTRY_POINTS) if suffixes else ()
    return next((entry for entry in added if f".{entry.name}" in suffixes), None)


def _open_video(path: Path) -> FrameSource:
    if importlib.util.find_spec("av") is None:
        return VideoSource(path)
    from lsabinet_core.inference.video import AvVideoSource

    return AvVideoSource(path)


def _text(name: str) -> str:
    # Neither OpenCV nor a terminal accepts bytes that are not UTF-8, so they become replacement characters.
    return os.fsencode(name).decode("utf-8", "replace")


def list_images(folder: Path) -> list[Path]:
    """Files with an image suffix in a folder, sorted by name, including broken links but no folders or hidden files.

    Raises:
        FrameError: there are no images.
    """
    paths = sorted(entry for entry in folder.iterdir() if _is_image_name(entry) and not entry.is_dir())
    if not paths:
        raise FrameError(f"{folder} holds no images: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return paths


def _is_image_name(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _read_regular(path: Path) -> np.ndarray:
    if path.exists() and not path.is_file():
        # Opening a named pipe would wait for its writer.
        raise FrameError(f"{path}: not a regular file")
    return read_image(path)


def _distinct_names(paths: list[Path]) -> list[str]:
    stems = Counter(_text(path.stem) for path in paths)
    taken = {stem for stem, count in stems.items() if count == 1}
    names = []
    for path in paths:
        name = _text(path.stem)
        if stems[name] > 1:
            whole = name = _text(path.name).replace(".", "_")
            number = 2
            while name in taken:
                name = f"{whole}_{number}"
                number += 1
            taken.add(name)
        names.append(name)
    return names


def _open_capture(source: str | int) -> cv2.VideoCapture | None:
    # Silence FFmpeg and OpenCV: our own error says more about a file that cannot be opened.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Renamed in OpenCV 5.
    log: Any = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(_SILENT)
    try:
        capture = cv2.VideoCapture(source)
        if capture.isOpened():
            return capture
        capture.release()
        return None
    except cv2.error:
        # An index beyond the range of OpenCV's integers.
        return None
    finally:
        log.setLogLevel(level)
