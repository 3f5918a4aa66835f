"""Read what is left of an .mcap or .db3 file whose end is missing.

The rosbags library refuses such files, because the index is at the end (mcap) or the size does not fit (sqlite). Both
formats can be read from the front; a scan at opening finds how far.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.records import Channel, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import Message, Storage, Topic, one_line


def recover(path: Path, reason: str) -> Storage:
    """Open the readable part of a damaged .mcap or .db3 file.

    Args:
        reason: why it could not be opened the usual way.

    Raises:
        BagError: not one message can be read.
    """
    return (RecoveredMcap if path.suffix == ".mcap" else RecoveredSqlite)(path, reason)


class _Recovered(ABC):
    """A storage that is scanned from the front; subclasses give ``_records``."""

    format: str

    def __init__(self, path: Path, reason: str):
        self._path = path
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self.start_ns = self.end_ns = None
        counts: dict[str, int] = {}
        types: dict[str, str] = {}
        self._stopped_by: str | None = None
        for message in self._records():
            counts[message.topic] = counts.get(message.topic, 0) + 1
            types[message.topic] = message.type
            self.start_ns = message.stamp_ns if self.start_ns is None else min(self.start_ns, message.stamp_ns)
            self.end_ns = message.stamp_ns if self.end_ns is None else max(self.end_ns, message.stamp_ns)
        if not counts:
            raise BagError(f"no message can be read from {path}: {reason}")
        self.topics = {name: Topic(name, types[name], count) for name, count in counts.items()}
        seconds, total = (self.end_ns - self.start_ns) / 1e9, sum(counts.values())
        self.truncated = None
        if self._stopped_by is not None:
            self.truncated = f"cut off: {total} messages ({seconds:.2f} s) can be read, then {self._stopped_by}"

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        return (message for message in self._records() if message.topic in topics)

    def deserialize(self, message: Message) -> object:
        return self._types.deserialize_cdr(message.data, message.type)

    def close(self) -> None:
        """Nothing is held open."""
        return None

    def _records(self) -> Iterator[Message]:
        """Every readable message in the file's order; the first error ends it and goes to ``_stopped_by``."""
        records = self._read()
        while True:
            try:
                message = next(records)
            except StopIteration:
                return
            except BagError:
                raise
            except Exception as error:  # parsers fed with damaged bytes raise anything
                self._stopped_by = self._explain(error)
                return
            yield message

    @abstractmethod
    def _read(self) -> Iterator[Message]:
        """The messages, in order; raises anything where the damage begins."""

    def _explain(self, error: Exception) -> str:
        return one_line(error)

    def _learn(self, type_name: str, encoding: str, definition: str) -> None:
        """Add a message type that the bag defines and ROS 2 does not ship."""
        if type_name not in self._types.fielddefs and encoding == "ros2msg":
            known = self._types.fielddefs
            found = get_types_from_msg(definition, type_name)
            self._types.register({name: fields for name, fields in found.items() if name not in known})


class RecoveredMcap(_Recovered):
    """An mcap read record by record from the front, without its index; the last, partial chunk is lost."""

    format = "mcap"

    def _read(self) -> Iterator[Message]:
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        with open(self._path, "rb") as stream:
            for record in StreamReader(stream).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                    self._learn(record.name, record.encoding, record.data.decode())
                elif isinstance(record, Channel):
                    if record.message_encoding != "cdr":
                        raise BagError(
                            f"expected ROS 2 messages (cdr) in {self._path}, got {record.message_encoding!r} "
                            f"on {record.topic}"
                        )
                    channels[record.id] = record
                elif isinstance(record, McapMessage):
                    channel = channels[record.channel_id]
                    yield Message(channel.topic, schemas[channel.schema_id].name, record.log_time, record.data)

    def _explain(self, error: Exception) -> str:
        return "the file ends" if type(error).__name__ == "EndOfFile" else one_line(error)


class RecoveredSqlite(_Recovered):
    """A sqlite file read in the order of writing, without the time index, which needs pages from everywhere."""

    format = "sqlite3"

    def _read(self) -> Iterator[Message]:
        uri = f"{self._path.resolve().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True)
        try:
            # Without this, sqlite refuses a file that is shorter than its header says.
            connection.execute("PRAGMA writable_schema=ON")
            topics = {row[0]: row[1:] for row in connection.execute("SELECT id, name, type FROM topics")}
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            if "message_definitions" in tables:
                query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
                for row in connection.execute(query):
                    self._learn(*row)
            for topic_id, stamp_ns, data in connection.execute(
                "SELECT topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                name, type_name = topics[topic_id]
                yield Message(name, type_name, stamp_ns, data)
        finally:
            connection.close()
