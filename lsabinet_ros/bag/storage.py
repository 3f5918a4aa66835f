"""Common parts of all bag formats: topics, messages, and the interface of a storage."""

import heapq
import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import zstandard

from lsabinet_core.errors import BagError, one_line
from lsabinet_ros.bag.message_types import MessageTypes

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
STORAGE_SUFFIXES = (".mcap", ".db3")
"""Suffixes of the storage files of rosbag2."""
CDR = "cdr"
ROS_ENCODINGS = (CDR, "ros1")
"""How ROS 2 and ROS 1 serialise messages. A bag may also hold topics in other encodings, such as JSON."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_LISTED = 20
"""Maximum number of topics that an error message lists, and of topics with a separate loss; a bag may have 100,000."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        name: e.g. ``/camera/image_raw``.
        type: in ROS 2 spelling, e.g. ``sensor_msgs/msg/Image``, also for ROS 1 bags.
        count: number of messages according to the bag's index; for a damaged file, the number of readable messages.
        latched: late subscribers expect the last message (transient local, or latched in ROS 1).
        encoding: ``cdr`` for ROS 2 messages, ``ros1`` in ROS 1 bags; messages in any other encoding are not read.
    """

    name: str
    type: str
    count: int
    latched: bool = False
    encoding: str = CDR

    @property
    def is_image(self) -> bool:
        return self.type in (IMAGE, COMPRESSED_IMAGE) and self.is_ros

    @property
    def is_ros(self) -> bool:
        """Whether the messages have a serialisation of ROS."""
        return self.encoding in ROS_ENCODINGS


class Message(NamedTuple):
    """A message as the bag stores it: ``data`` is CDR in ROS 2 bags and ROS 1 serialisation in ROS 1 bags."""

    topic: str
    type: str
    stamp_ns: int
    data: bytes


class Storage(Protocol):
    """What ``reader.Bag`` needs from a file format; its docstring describes the attributes.

    ``losses`` may grow while messages are read. Reading the same messages again does not repeat a loss.
    """

    format: str
    topics: dict[str, Topic]
    start_ns: int | None
    end_ns: int | None

    @property
    def losses(self) -> list[str]: ...

    def messages(self, topics: Collection[str]) -> Iterator[Message]: ...

    def deserialize(self, message: Message) -> object: ...

    def close(self) -> None: ...


class StorageFile(ABC):
    """One storage file of rosbag2, whole or damaged.

    Subclasses set ``topics`` (see ``_add`` for topics with several entries), ``start_ns`` and ``end_ns``
    when they open, and implement ``_read``.

    Args:
        path: the file, decompressed.
        types: registers the message definitions of the file.
        name: name for error messages.

    Raises:
        BagError: no message can be read, though the file is damaged or of another format.
    """

    format: str

    def __init__(self, path: Path, types: MessageTypes, name: str):
        self._path, self._types, self._name = path, types, name
        self.topics: dict[str, Topic] = {}
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self.losses: list[str] = []
        self._truncated = False

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """The readable messages of ``topics``; damage ends them and is added to ``losses``."""
        counts = dict.fromkeys(topics, 0)
        try:
            for message in self._read(topics):
                counts[message.topic] += 1
                yield _decompressed(message)
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 parsers raise errors of any type on damaged data
            if not self._truncated:
                self._lose(f"damaged after {sum(counts.values())} messages: {self._explain(error)}")
            return
        if self.losses:
            return
        declared = {name: self.topics[name].count if name in self.topics else 0 for name in counts}
        for loss in first_losses(
            f"its index declares {declared[name]} messages on {name}, but only {count} could be read"
            for name, count in counts.items()
            if count < declared[name]
        ):
            self._lose(loss)

    def deserialize(self, message: Message) -> object:
        return self._types.deserialize(message.data, message.type)

    def close(self) -> None:
        """Do nothing: the file is only open during ``messages``."""
        return None

    @abstractmethod
    def _read(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of ``topics``, by time if the file is whole; raise any error where the damage starts."""

    def _lose(self, what: str) -> None:
        loss = f"{self._name}: {what}"
        if loss not in self.losses:
            self.losses.append(loss)

    def _add(self, topic: Topic) -> None:
        """Add a topic; in some files, each of several publishers of a topic has its own entry."""
        earlier = self.topics.get(topic.name)
        if earlier is not None:
            latched = earlier.latched or topic.latched
            topic = Topic(topic.name, earlier.type, earlier.count + topic.count, latched, earlier.encoding)
        self.topics[topic.name] = topic

    def _note_stamp(self, stamp_ns: int) -> None:
        self.start_ns = stamp_ns if self.start_ns is None else min(self.start_ns, stamp_ns)
        self.end_ns = stamp_ns if self.end_ns is None else max(self.end_ns, stamp_ns)

    def _count_all(self, readable: Iterable[Message]) -> None:
        """Count the messages of a file without a usable index, up to the first error, which becomes a loss.

        Raises:
            BagError: there is an error before the first message.
        """
        counts: dict[str, int] = {}
        first: int | None = None
        last = 0
        try:
            for message in readable:
                counts[message.topic] = counts.get(message.topic, 0) + 1
                self._note_stamp(message.stamp_ns)
                first, last = message.stamp_ns if first is None else first, message.stamp_ns
        except Exception as error:
            if not counts:
                raise BagError(f"cannot read any message of {self._name}: {self._explain(error)}") from error
            seconds = (last - (first or 0)) / 1e9
            self._truncated = True
            self._lose(f"truncated after {sum(counts.values())} messages ({seconds:.2f} s): {self._explain(error)}")
        for name, count in counts.items():
            self.topics[name] = Topic(name, self.topics[name].type, count, self.topics[name].latched)

    def _explain(self, error: Exception) -> str:
        return one_line(error)


def _decompressed(message: Message) -> Message:
    """The message without message-wise compression, which is recognised because CDR starts with a zero byte."""
    if not message.data.startswith(_ZSTD_MAGIC):
        return message
    try:
        return message._replace(data=zstandard.ZstdDecompressor().decompressobj().decompress(message.data))
    except zstandard.ZstdError:
        return message  # it counts as a corrupt message when it is deserialised


def listed(names: Sequence[str]) -> str:
    """Names of topics for a message; only the first ones of very many."""
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def first_losses(losses: Iterable[str]) -> Iterator[str]:
    """The losses of the first topics, one for each, and the number of further topics with losses."""
    losses = iter(losses)
    yield from itertools.islice(losses, MAX_LISTED)
    more = sum(1 for _ in losses)
    if more:
        yield f"messages are missing on {more} more topics"


def merge_by_time(parts: Iterable[tuple[int, Callable[[], Iterator[Message]]]]) -> Iterator[Message]:
    """Merge streams of messages by time; each is only opened when its time has come.

    Args:
        parts: (time of the first message in nanoseconds, function that opens the stream), in any order.
    """
    pending = deque(sorted(parts, key=lambda part: part[0]))
    streams: list[tuple[int, int, Message, Iterator[Message]]] = []
    opened = 0
    while pending or streams:
        while pending and (not streams or pending[0][0] <= streams[0][0]):
            stream = pending.popleft()[1]()
            message = next(stream, None)
            if message is not None:
                heapq.heappush(streams, (message.stamp_ns, opened, message, stream))
                opened += 1
        if not streams:
            continue
        _, number, message, stream = streams[0]
        yield message
        following = next(stream, None)
        if following is None:
            heapq.heappop(streams)
        else:
            heapq.heapreplace(streams, (following.stamp_ns, number, following, stream))
