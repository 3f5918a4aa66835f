"""Write a rosbag2 of camera frames and labels, readable by ``ros2 bag`` without this package."""

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import COMPRESSED_IMAGE, IMAGE, STORAGE_SUFFIXES

IMAGE_TOPIC = "/camera/image_raw"
LABEL_TOPIC = "/camera/labels"
FRAME_ID = "camera"
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
COMPRESSIONS = ("jpeg", "png")
ROSBAG2_VERSION = 9
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class BagSettings:
    """How frames go into a bag.

    Attributes:
        storage: ``mcap``, ``sqlite3``, or None: what the suffix of the path says, mcap for a folder.
        compression: None (sensor_msgs/Image, bgr8), or ``jpeg`` or ``png`` (sensor_msgs/CompressedImage).
        quality: JPEG quality, 1..100.
        image_topic: name of the image topic; with compression, ``/compressed`` is added, as image_transport does.
        label_topic: name of the label topic (sensor_msgs/Image, mono8, 255 = void).
        frame_id: of every header.
    """

    storage: str | None = None
    compression: str | None = None
    quality: int = 90
    image_topic: str = IMAGE_TOPIC
    label_topic: str = LABEL_TOPIC
    frame_id: str = FRAME_ID


class BagWriter:
    """Writes frames to a temporary place beside ``path``; ``path`` appears, whole, when the ``with`` block ends well.

    Args:
        path: ``X.mcap`` or ``X.db3`` for a single storage file, without suffix for a rosbag2 folder.
        settings: topics, storage and compression.
        overwrite: replace a bag that is there.

    Raises:
        BagError: a path or setting that does not fit, something already there, or a full disk.
    """

    def __init__(self, path: str | os.PathLike, settings: BagSettings = BagSettings(), *, overwrite: bool = False):
        self.path = Path(path)
        self.settings = settings
        self._storage = _storage_for(self.path, settings.storage)
        if settings.compression not in (None, *COMPRESSIONS):
            raise BagError(
                f"expected the compression to be one of {', '.join(COMPRESSIONS)}, got {settings.compression}"
            )
        if not 1 <= settings.quality <= 100:
            raise BagError(f"expected a JPEG quality of 1 to 100, got {settings.quality}")
        for topic in (settings.image_topic, settings.label_topic):
            if not topic.startswith("/") or topic.endswith("/"):
                raise BagError(f"expected an absolute topic name such as {IMAGE_TOPIC}, got {topic!r}")
        _check_free(self.path, overwrite)
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, object] = {}
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.tmp")
        self._writer: Writer | None = None

    def __enter__(self) -> "BagWriter":
        with _disk_errors(self.path):
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True)
            # The storage file gets the folder's name, and the metadata inside names it: so that of the final path.
            plugin = STORAGES[self._storage]
            self._writer = Writer(self._temporary / self.path.stem, version=ROSBAG2_VERSION, storage_plugin=plugin)
            self._writer.open()
        return self

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is not None:
                self._writer.abort()
                return
            with _disk_errors(self.path):
                self._writer.close()
                self._move_into_place()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def write(self, stamp_ns: int, image: np.ndarray, label: np.ndarray | None = None) -> None:
        """Add a frame, and its label with the same stamp.

        Args:
            stamp_ns: nanoseconds since the epoch, header stamp and bag time alike.
            image: uint8 (H, W, 3), BGR.
            label: uint8 (H, W), class ids, 255 = void.

        Raises:
            BagError: arrays of another kind, or a full disk.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise BagError(f"expected a uint8 image (H, W, 3), got {image.dtype} {image.shape}")
        if label is not None and (label.shape != image.shape[:2] or label.dtype != np.uint8):
            raise BagError(f"expected a uint8 label {image.shape[:2]} like its image, got {label.dtype} {label.shape}")
        if self.settings.compression is None:
            self._write(self.settings.image_topic, IMAGE, stamp_ns, self._image(stamp_ns, image, "bgr8"))
        else:
            topic = f"{self.settings.image_topic}/compressed"
            self._write(topic, COMPRESSED_IMAGE, stamp_ns, self._compressed_image(stamp_ns, image))
        if label is not None:
            self._write(self.settings.label_topic, IMAGE, stamp_ns, self._image(stamp_ns, label, "mono8"))

    def _write(self, topic: str, type_name: str, stamp_ns: int, message: object) -> None:
        with _disk_errors(self.path):
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(topic, type_name, typestore=self._types)
            data = self._types.serialize_cdr(message, type_name)
            self._writer.write(self._connections[topic], stamp_ns, bytes(data))

    def _header(self, stamp_ns: int) -> object:
        stamp = self._types.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND_NS))
        return self._types.types["std_msgs/msg/Header"](stamp, self.settings.frame_id)

    def _image(self, stamp_ns: int, array: np.ndarray, encoding: str) -> object:
        height, width = array.shape[:2]
        data = np.ascontiguousarray(array).reshape(-1)
        return self._types.types[IMAGE](self._header(stamp_ns), height, width, encoding, 0, data.size // height, data)

    def _compressed_image(self, stamp_ns: int, image: np.ndarray) -> object:
        kind = self.settings.compression
        if kind == "jpeg":
            _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.settings.quality])
        else:
            _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        text = f"bgr8; {kind} compressed bgr8"  # as image_transport's publisher writes it
        return self._types.types[COMPRESSED_IMAGE](self._header(stamp_ns), text, data.reshape(-1))

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


def make_bag(
    source: Iterable[Sample],
    path: str | os.PathLike,
    *,
    rate: Fraction,
    start_ns: int,
    settings: BagSettings = BagSettings(),
    limit: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Write the samples of ``source`` as a bag: frame i has the stamp ``start_ns + i / rate``, to the nanosecond.

    Args:
        rate: frames per second; a Fraction, so that stamps do not drift.
        limit: only the first so many samples.
        progress: called with the frames written so far.

    Returns:
        Number of frames and of labels written.

    Raises:
        BagError: as ``BagWriter``; also for a source without frames.
    """
    if rate <= 0:
        raise BagError(f"expected a rate above 0 Hz, got {rate}")
    frames = labels = 0
    with BagWriter(path, settings, overwrite=overwrite) as writer:
        for sample in itertools.islice(source, limit):
            writer.write(start_ns + int(frames * SECOND_NS / rate), sample.image, sample.label)
            frames += 1
            labels += sample.label is not None
            if progress is not None:
                progress(frames)
        if not frames:
            raise BagError(f"no frame to write to {path}")
    return frames, labels


def _storage_for(path: Path, storage: str | None) -> str:
    by_suffix = {".mcap": "mcap", ".db3": "sqlite3", "": storage or "mcap"}
    if path.suffix not in by_suffix:
        raise BagError(f"expected *{', *'.join(STORAGE_SUFFIXES)} or no suffix (a folder) for a bag, got {path}")
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
        raise BagError(f"{path} exists already: choose another name, or overwrite it with --overwrite")
    is_bag = path.is_file() if path.suffix else (path / "metadata.yaml").is_file()
    if not is_bag:
        raise BagError(f"{path} is not a bag, so it is not overwritten: remove it yourself or choose another name")


@contextlib.contextmanager
def _disk_errors(path: Path):
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise BagError(f"cannot write {path}: {error}") from error
