"""Open a bag: a rosbag2 folder, a single .mcap or .db3 file, or a ROS 1 .bag, even if it is damaged."""

import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_typestore

from lsabinet_core.errors import BagError, one_line
from lsabinet_ros.bag.folder import StorageFiles, is_storage_file, open_folder
from lsabinet_ros.bag.ros1_file import Ros1File
from lsabinet_ros.bag.storage import Message, Storage, listed

log = logging.getLogger(__name__)


class Bag:
    """A bag that is open for reading, created by ``open_bag``.

    Attributes:
        path: path of the bag, as given.
        format: ``mcap``, ``sqlite3`` or ``ros1``.
        topics: ``{name: Topic}``, sorted by name.
        start_ns, end_ns: bag time of the first and last message; None for an empty bag.
    """

    def __init__(self, path: Path, storage: Storage):
        self.path = path
        self.format = storage.format
        self.topics = dict(sorted(storage.topics.items()))
        self.start_ns, self.end_ns = storage.start_ns, storage.end_ns
        self._storage = storage
        self._reported: set[str] = set()
        self._ros2_types = get_typestore(Stores.ROS2_JAZZY)
        self._warn_of_losses()

    @property
    def losses(self) -> list[str]:
        """Descriptions of what cannot be read, to which reading messages may add. Empty for an undamaged bag."""
        return list(self._storage.losses)

    def _warn_of_losses(self) -> None:
        for loss in self._storage.losses:
            if loss not in self._reported:
                self._reported.add(loss)
                log.warning("%s", loss)

    @property
    def duration_s(self) -> float:
        return 0.0 if self.start_ns is None or self.end_ns is None else (self.end_ns - self.start_ns) / 1e9

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Yield the messages of ``topics`` (None: all topics) by bag time.

        Damage does not raise an error: what is lost is logged and added to ``losses``.

        Raises:
            BagError: no such topic.
        """
        names = [topic.name for topic in self.topics.values() if topic.is_ros] if topics is None else list(topics)
        for name in names:
            if name not in self.topics:
                raise BagError(f"no topic {name} in {self.path}; it has {self.topic_list()}")
        yield from self._storage.messages(names)
        self._warn_of_losses()

    def deserialize(self, message: Message) -> Any:
        """The message as an object with the fields of its ROS type; arrays are read-only NumPy views.

        Raises:
            BagError: the data is not a valid message of that type.
        """
        try:
            return self._storage.deserialize(message)
        except BagError:
            raise
        except Exception as error:  # parsers raise errors of any type on damaged data
            raise BagError(f"corrupt {message.type} on {message.topic}: {one_line(error)}") from error

    def to_cdr(self, message: Message) -> bytes:
        """The message as CDR, ready to be published; it is deserialised once to check it.

        Raises:
            BagError: the data is not a valid message of that type, or ROS 2 does not have that ROS 1 type.
        """
        self.deserialize(message)
        if self.format != "ros1":
            return message.data
        if message.type not in self._ros2_types.fielddefs:
            raise BagError(f"ROS 2 does not have the ROS 1 type {message.type} of {message.topic}")
        return bytes(self._ros2_types.ros1_to_cdr(message.data, message.type))

    def topic_list(self) -> str:
        """The topics with their types, for error messages; only the first ones if there are many."""
        return listed([f"{topic.name} ({topic.type})" for topic in self.topics.values()]) or "no topics"

    def close(self) -> None:
        self._storage.close()

    def __enter__(self) -> "Bag":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bag(path: str | os.PathLike) -> Bag:
    """Open a rosbag2 folder, a single .mcap or .db3 file (also with .zstd), or a ROS 1 .bag.

    If a rosbag2 is damaged, its readable part is opened with a warning, and ``Bag.losses`` is set.

    Raises:
        BagError: the path does not exist, is not a bag, or no message can be read.
    """
    path = Path(path)
    expected = "expected a rosbag2 folder, a .mcap, a .db3 or a ROS 1 .bag file"
    if not path.exists():
        raise BagError(f"no bag at {path}: {expected}")
    if path.is_dir():
        return Bag(path, open_folder(path))
    if is_storage_file(path):
        return Bag(path, StorageFiles([path]))
    if path.suffix != ".bag":
        raise BagError(f"{path} is not a bag: {expected}")
    if path.stat().st_size == 0:
        raise BagError(f"{path} is empty")
    return Bag(path, Ros1File(path))
