"""Write a rosbag2 of camera frames and labels, readable by ``ros2 bag`` without this package."""

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.built_messages import CAMERA_INFO, SECOND_NS, MessageBuilder
from lsabinet_ros.bag.calibration import Calibration
from lsabinet_ros.bag.camera_sources import CameraSample
from lsabinet_ros.bag.settings import COMPRESSIONS, DEFAULT_SETTINGS, STORAGES, BagSettings
from lsabinet_ros.bag.sources import TimedSample
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE, IMAGE, STORAGE_SUFFIXES
from lsabinet_ros.bag.topics import check_topic_names

ROSBAG2_VERSION = 9


class BagWriter:
    """Context manager that writes frames to a bag.

    The bag is written to a temporary folder beside ``path`` and moved to ``path`` when the block ends without error.

    Args:
        path: ``X.mcap`` or ``X.db3`` for a single storage file; without suffix for a rosbag2 folder.
        settings: topics, storage and compression.
        overwrite: replace an existing bag.
        compress: compress the chunks of an mcap file with zstd, which all readers of mcap support.

    Attributes:
        messages: builds the messages for ``write_message``.

    Raises:
        BagError: an invalid path or setting, an existing file, or a full disk.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        settings: BagSettings = DEFAULT_SETTINGS,
        *,
        overwrite: bool = False,
        compress: bool = False,
    ):
        self.path = Path(path)
        self.settings = settings
        self._storage = _storage_for(self.path, settings.storage)
        if settings.compression not in (None, *COMPRESSIONS):
            raise BagError(
                f"expected the compression to be one of {', '.join(COMPRESSIONS)}, got {settings.compression}"
            )
        if not 1 <= settings.quality <= 100:
            raise BagError(f"expected a JPEG quality of 1 to 100, got {settings.quality}")
        check_topic_names(settings.image_topic, settings.label_topic)
        _check_free(self.path, overwrite)
        self.messages = MessageBuilder()
        self._compress = compress
        self._connections: dict[str, Connection] = {}
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.tmp")
        self._writer: Writer | None = None

    def __enter__(self) -> "BagWriter":
        with _disk_errors(self.path):
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
            # The writer names the storage file after the folder, and the metadata refers to it, so use the final name.
            plugin = StoragePlugin[self._storage.upper()]
            self._writer = Writer(self._temporary / self.path.stem, version=ROSBAG2_VERSION, storage_plugin=plugin)
            if self._compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._open_writer.abort()
                return
            with _disk_errors(self.path):
                self._open_writer.close()
                self._move_into_place()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    @property
    def _open_writer(self) -> Writer:
        assert self._writer is not None, "it is used as a context manager"
        return self._writer

    def write(
        self,
        stamp_ns: int,
        image: np.ndarray,
        label: np.ndarray | None = None,
        *,
        camera: str | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        """Write a frame, and its label and calibration with the same stamp.

        Args:
            stamp_ns: header stamp and bag time in nanoseconds since the epoch.
            image: BGR, uint8 (H, W, 3).
            label: class ids, uint8 (H, W), 255 = void.
            camera: name of the camera if there are several; None for the topics of the settings.
            calibration: written as CameraInfo.

        Raises:
            BagError: arrays of another shape or dtype, a calibration of another size, or a full disk.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise BagError(f"expected a uint8 image (H, W, 3), got {image.dtype} {image.shape}")
        if label is not None and (label.shape != image.shape[:2] or label.dtype != np.uint8):
            raise BagError(f"expected a uint8 label {image.shape[:2]}, like the image, got {label.dtype} {label.shape}")
        settings = self.settings if camera is None else self.settings.of_camera(camera)
        header = self.messages.header(stamp_ns, settings.frame_id)
        topic = settings.image_topic
        if calibration is not None:
            calibration.check_size(image.shape[:2])
            info = self.messages.camera_info(header, calibration)
            self.write_message(settings.info_topic, CAMERA_INFO, stamp_ns, info)
        if self.settings.compression is None:
            self.write_message(topic, IMAGE, stamp_ns, self.messages.image(header, image, "bgr8"))
        else:
            message = self.messages.compressed_image(header, *self._compressed(image))
            self.write_message(f"{topic}/compressed", COMPRESSED_IMAGE, stamp_ns, message)
        if label is not None:
            self.write_message(settings.label_topic, IMAGE, stamp_ns, self.messages.image(header, label, "mono8"))

    def write_message(self, topic: str, type_name: str, stamp_ns: int, message: Any) -> None:
        """Write a message that ``messages`` has built; other arguments and errors as for ``write_serialized``."""
        self.write_serialized(topic, type_name, stamp_ns, self.messages.serialize(message, type_name))

    def write_serialized(self, topic: str, type_name: str, stamp_ns: int, cdr: bytes) -> None:
        """Write a message of any type as it was received.

        Args:
            topic: absolute name.
            type_name: such as ``sensor_msgs/msg/Image``; one of ROS 2's own types.
            stamp_ns: bag time in nanoseconds since the epoch.
            cdr: the serialised message.

        Raises:
            BagError: a full disk.
        """
        with _disk_errors(self.path):
            if topic not in self._connections:
                self._connections[topic] = self._open_writer.add_connection(
                    topic, type_name, typestore=self.messages.store
                )
            self._open_writer.write(self._connections[topic], stamp_ns, cdr)

    def _compressed(self, image: np.ndarray) -> tuple[np.ndarray, str]:
        """The content of the file, and the format as image_transport writes it."""
        kind = self.settings.compression
        if kind == "jpeg":
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.settings.quality])
        else:
            _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return data, f"bgr8; {kind} compressed bgr8"

    def _move_into_place(self) -> None:
        written = self._temporary / self.path.stem
        files = [file for file in written.iterdir() if file.is_file()]
        for file in files:
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())
        if self.path.suffix:
            os.replace(written / f"{self.path.stem}{self.path.suffix}", self.path)
            return
        if self.path.exists():
            os.rename(self.path, self._temporary / "replaced")
        os.rename(written, self.path)


class Written(NamedTuple):
    """What ``make_bag`` has written: the number of frames and of labels, and the first and the last stamp."""

    frames: int
    labels: int
    first_ns: int
    last_ns: int


def make_bag(
    source: Iterable[Sample],
    path: str | os.PathLike,
    *,
    rate: Fraction | None,
    start_ns: int,
    settings: BagSettings = DEFAULT_SETTINGS,
    limit: int | None = None,
    overwrite: bool = False,
    calibration_of: Callable[[str | None, tuple[int, int]], Calibration] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Written:
    """Write the samples of ``source`` to a bag; frame i has the stamp ``start_ns + i / rate``, exact to the nanosecond.

    Args:
        rate: frames per second; a Fraction, so that stamps do not drift. With None, each sample is a ``TimedSample``
            with its own time.
        limit: maximum number of samples; None writes all.
        calibration_of: returns the calibration for a camera (None if there is only one) and the size (H, W) of its
            images; None writes no CameraInfo.
        progress: called with the number of frames written so far.

    Raises:
        BagError: see ``BagWriter``; or the source has no frames.
    """
    if rate is not None and rate <= 0:
        raise BagError(f"expected a rate above 0 Hz, got {rate}")
    frames = labels = 0
    stamp_ns = start_ns
    with BagWriter(path, settings, overwrite=overwrite) as writer:
        for sample in itertools.islice(source, limit):
            if rate is not None:
                time_s = frames / rate
            else:
                assert isinstance(sample, TimedSample)
                time_s = sample.time_s
            stamp_ns = start_ns + int(time_s * SECOND_NS)
            camera = sample.camera if isinstance(sample, CameraSample) else None
            calibration = calibration_of and calibration_of(camera, sample.image.shape[:2])
            writer.write(stamp_ns, sample.image, sample.label, camera=camera, calibration=calibration)
            frames += 1
            labels += sample.label is not None
            if progress is not None:
                progress(frames)
        if not frames:
            raise BagError(f"no frames to write to {path}")
    return Written(frames, labels, start_ns, stamp_ns)


def _storage_for(path: Path, storage: str | None) -> str:
    by_suffix = {".mcap": "mcap", ".db3": "sqlite3", "": storage or "mcap"}
    if path.suffix not in by_suffix:
        raise BagError(f"expected the suffix {', '.join(STORAGE_SUFFIXES)} or none (a folder) for a bag, got {path}")
    found = by_suffix[path.suffix]
    if storage not in (None, found):
        raise BagError(f"expected the storage {found} for {path.name}, got {storage}")
    if found not in STORAGES:
        raise BagError(f"expected the storage to be one of {', '.join(STORAGES)}, got {found}")
    return found


def _check_free(path: Path, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"{path} already exists: choose another name, or replace it with --overwrite")
    is_bag = path.is_file() if path.suffix else (path / "metadata.yaml").is_file()
    if not is_bag:
        raise BagError(f"{path} is not a bag, so --overwrite does not replace it: remove it or choose another name")


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise BagError(f"cannot write {path}: {error}") from error
