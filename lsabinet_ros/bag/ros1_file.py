"""Read a ROS 1 bag with the rosbags library."""

from collections.abc import Collection, Iterator
from pathlib import Path

from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from lsabinet_core.errors import BagError, one_line
from lsabinet_ros.bag.storage import Message, Topic


class Ros1File:
    """A ROS 1 .bag file.

    Raises:
        BagError: the file is damaged or of another format.
    """

    format = "ros1"

    def __init__(self, path: Path):
        try:
            self._reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader.open()
        except Exception as error:
            raise BagError(
                f"cannot read {path} as a ROS 1 bag: {one_line(error)} (`rosbag reindex` can repair a truncated bag)"
            ) from error
        self._name = path.name
        self.losses: list[str] = []
        self.topics: dict[str, Topic] = {}
        for connection in self._reader.connections:
            earlier = self.topics.get(connection.topic)
            count = connection.msgcount + (earlier.count if earlier else 0)
            latched = bool(getattr(connection.ext, "latching", False))
            self.topics[connection.topic] = Topic(connection.topic, connection.msgtype, count, latched, "ros1")
        empty = self._reader.message_count == 0
        self.start_ns = None if empty else self._reader.start_time
        # The library returns the time just after the last message.
        self.end_ns = None if empty else self._reader.end_time - 1

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        if not connections:
            return
        count = 0
        try:
            for connection, stamp_ns, data in self._reader.messages(connections):
                yield Message(connection.topic, connection.msgtype, stamp_ns, bytes(data))
                count += 1
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 the library raises errors of any type on damaged data
            loss = f"{self._name}: damaged after {count} messages: {one_line(error)}"
            if loss not in self.losses:
                self.losses.append(loss)

    def deserialize(self, message: Message) -> object:
        return self._reader.deserialize(message.data, message.type)

    def close(self) -> None:
        self._reader.close()
