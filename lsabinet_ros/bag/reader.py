"""Open a bag of any kind: a rosbag2 folder, a lone .mcap or .db3 file, a ROS 1 .bag; whole or cut off."""

import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from lsabinet_core.errors import BagError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
STORAGE_SUFFIXES = (".mcap", ".db3")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: e.g. ``/camera/image_raw``.
        type: ROS 2 spelling, e.g. ``sensor_msgs/msg/Image``, for ROS 1 bags too.
        count: messages that the bag says it has (of a cut bag: that can be read).
        latched: late subscribers expect the last message (transient local, or latched in ROS 1).
    """

    name: str
    type: str
    count: int
    latched: bool = False

    @property
    def is_image(self) -> bool:
        return self.type in (IMAGE, COMPRESSED_IMAGE)


class Message(NamedTuple):
    """A message as the bag stores it: ``data`` is CDR in ROS 2 bags and ROS 1 serialisation in ROS 1 bags."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes


class Storage(Protocol):
    """What ``Bag`` needs from a file format."""

    format: str
    topics: dict[str, Topic]
    start_ns: int | None
    end_ns: int | None
    truncated: str | None

    def messages(self, topics: Collection[str]) -> Iterator[Message]: ...

    def deserialize(self, message: Message) -> object: ...

    def close(self) -> None: ...


class Bag:
    """A bag open for reading; make one with ``open_bag``.

    Attributes:
        path: as given.
        format: ``mcap``, ``sqlite3`` or ``ros1``.
        topics: ``{name: Topic}``, sorted by name.
        start_ns, end_ns: bag time of the first and last message; None in an empty bag.
        truncated: what was lost of a cut or damaged bag, in words; None while the bag seems whole (damage in the
            middle shows only when it is read).
    """

    def __init__(self, path: Path, storage: Storage):
        self.path = path
        self.format = storage.format
        self.topics = dict(sorted(storage.topics.items()))
        self.start_ns, self.end_ns = storage.start_ns, storage.end_ns
        self.truncated = storage.truncated
        self._storage = storage
        self._ros2_types = get_typestore(Stores.ROS2_JAZZY)

    @property
    def duration_s(self) -> float:
        return 0.0 if self.start_ns is None else (self.end_ns - self.start_ns) / 1e9

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Yield the messages of ``topics`` (None: of all) by bag time.

        Where the file is damaged, the iteration ends there with a warning and ``truncated`` says so.

        Raises:
            BagError: no such topic, or nothing at all can be read.
        """
        names = list(self.topics) if topics is None else list(topics)
        for name in names:
            if name not in self.topics:
                raise BagError(f"no topic {name} in {self.path}; it has {self.topic_list()}")
        if not names:
            return
        count, last_ns = 0, None
        try:
            for message in self._storage.messages(names):
                yield message
                count, last_ns = count + 1, message.stamp_ns
        except Exception as error:  # parsers fed with damaged bytes raise anything: zlib, struct, sqlite, Unicode...
            if not count:
                raise BagError(f"cannot read any message of {self.path}: {one_line(error)}") from error
            if self.truncated:
                return  # said before: this is another pass over the same bag
            seconds = (last_ns - self.start_ns) / 1e9
            self.truncated = f"damaged after {count} messages ({seconds:.2f} s): {one_line(error)}"
            log.warning("%s is %s; the rest is lost", self.path, self.truncated)

    def deserialize(self, message: Message) -> object:
        """The message with the fields of its ROS type; arrays are read-only numpy views.

        Raises:
            BagError: the bytes are no message of that type.
        """
        try:
            return self._storage.deserialize(message)
        except Exception as error:  # see messages()
            raise BagError(f"corrupt {message.type} on {message.topic}: {one_line(error)}") from error

    def to_cdr(self, message: Message) -> bytes:
        """The message as little-endian CDR that can be published as it is; it has been deserialised once as a check.

        Raises:
            BagError: the bytes are no message of that type, or a ROS 1 type that ROS 2 does not have.
        """
        self.deserialize(message)
        if self.format != "ros1":
            return message.data
        if message.type not in self._ros2_types.fielddefs:
            raise BagError(f"{message.type} on {message.topic} is a ROS 1 type that ROS 2 does not have")
        return bytes(self._ros2_types.ros1_to_cdr(message.data, message.type))

    def topic_list(self) -> str:
        """The topics with their types, for messages."""
        return ", ".join(f"{topic.name} ({topic.type})" for topic in self.topics.values()) or "no topics"

    def close(self) -> None:
        self._storage.close()

    def __enter__(self) -> "Bag":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def open_bag(path: str | os.PathLike) -> Bag:
    """Open a rosbag2 folder, a lone .mcap or .db3 file, or a ROS 1 .bag.

    Of a file that is cut off, the readable part is opened, with a warning and ``Bag.truncated`` set.

    Raises:
        BagError: not there, not a bag, or not one message readable.
    """
    path = Path(path)
    if not path.exists():
        raise BagError(f"no bag at {path}: expected a rosbag2 folder, a .mcap, a .db3 or a ROS 1 .bag file")
    if path.is_dir():
        storage = _open_folder(path)
    elif path.suffix in STORAGE_SUFFIXES:
        storage = _open_file(path)
    elif path.suffix == ".bag":
        storage = _open_ros1(path)
    else:
        raise BagError(f"{path} is not a bag: expected a rosbag2 folder, a .mcap, a .db3 or a ROS 1 .bag file")
    bag = Bag(path, storage)
    if bag.truncated:
        log.warning("%s is %s; the rest is lost", path, bag.truncated)
    return bag


def one_line(error: BaseException) -> str:
    """The error's message on one line; its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


class RosbagsStorage:
    """Storage read by the rosbags library."""

    truncated = None

    def __init__(self, path: Path, format: str):
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
        self._reader, self.format = reader, format
        self.topics: dict[str, Topic] = {}
        for connection in reader.connections:
            earlier = self.topics.get(connection.topic)
            count = connection.msgcount + (earlier.count if earlier else 0)
            self.topics[connection.topic] = Topic(connection.topic, connection.msgtype, count, _latched(connection))
        empty = reader.message_count == 0
        self.start_ns = None if empty else reader.start_time
        self.end_ns = None if empty else reader.end_time - 1  # rosbags counts to just after the last message

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        for connection, stamp_ns, data in self._reader.messages(connections):
            yield Message(connection.topic, connection.msgtype, stamp_ns, bytes(data))

    def deserialize(self, message: Message) -> object:
        return self._reader.deserialize(message.data, message.type)

    def close(self) -> None:
        self._reader.close()


def _latched(connection) -> bool:
    profiles = getattr(connection.ext, "offered_qos_profiles", None)
    if profiles is None:
        return bool(getattr(connection.ext, "latching", False))
    return any(profile.durability.name == "TRANSIENT_LOCAL" for profile in profiles)


def _open_folder(path: Path) -> Storage:
    files = sorted(file for file in path.iterdir() if file.suffix in STORAGE_SUFFIXES)
    if not (path / "metadata.yaml").is_file():
        mend = f": open the file itself, {files[0]}" if files else ""
        raise BagError(f"{path} is not a rosbag2 folder: it has no metadata.yaml{mend}")
    try:
        return RosbagsStorage(path, "mcap" if files and files[0].suffix == ".mcap" else "sqlite3")
    except Exception as error:  # see Bag.messages
        if len(files) == 1:
            return _open_file(files[0])
        raise BagError(f"cannot read the rosbag2 folder {path}: {one_line(error)}") from error


def _open_file(path: Path) -> Storage:
    from lsabinet_ros.bag.recovery import recover

    if path.stat().st_size == 0:
        raise BagError(f"{path} is empty")
    try:
        return RosbagsStorage(path, "mcap" if path.suffix == ".mcap" else "sqlite3")
    except Exception as error:  # see Bag.messages
        return recover(path, one_line(error))


def _open_ros1(path: Path) -> Storage:
    if path.stat().st_size == 0:
        raise BagError(f"{path} is empty")
    try:
        return RosbagsStorage(path, "ros1")
    except Exception as error:  # see Bag.messages
        raise BagError(
            f"cannot read {path} as a ROS 1 bag: {one_line(error)} (a bag that was cut off can be mended with "
            f"`rosbag reindex`)"
        ) from error
