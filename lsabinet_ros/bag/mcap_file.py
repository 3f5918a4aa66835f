"""Read an mcap file: by its index, or from the start if the index at its end is missing or damaged."""

import functools
import struct
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import yaml
from mcap.data_stream import ReadDataStream
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from lsabinet_core.errors import one_line
from lsabinet_ros.bag.message_types import MessageTypes
from lsabinet_ros.bag.storage import Message, StorageFile, Topic, merge_by_time

_RECORD = struct.Struct("<BQ")
"""Opcode and length of a record."""
_MESSAGE_OPCODE = 0x05
_MESSAGE = struct.Struct("<HIQQ")
"""Channel, sequence number, log time and publish time; the data follows."""


class McapFile(StorageFile):
    """An mcap file. Without its index, messages are read in writing order, and an incomplete last chunk is lost."""

    format = "mcap"

    def __init__(self, path: Path, types: MessageTypes, name: str):
        super().__init__(path, types, name)
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: list[ChunkIndex] = []
        if not self._read_index():
            self._schemas, self._channels = {}, {}
            self.topics = {}
            self._count_all(self._scan())

    def _read_index(self) -> bool:
        """Read the summary at the file's end; returns False if the file has to be read from the start."""
        try:
            with open(self._path, "rb") as stream:
                summary = SeekingReader(stream).get_summary()
        except Exception:  # noqa: BLE001 parsers raise errors of any type on damaged data
            return False
        if summary is None or summary.statistics is None or not summary.channels:
            return False
        statistics = summary.statistics
        counts = statistics.channel_message_counts
        if (not counts and statistics.message_count) or (statistics.message_count and not summary.chunk_indexes):
            return False
        for schema in summary.schemas.values():
            self._add_schema(schema)
        for channel in summary.channels.values():
            self._add_channel(channel, counts.get(channel.id, 0))
        if statistics.message_count:
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time
        self._chunks = summary.chunk_indexes
        return True

    def _add_schema(self, schema: Schema) -> None:
        self._schemas[schema.id] = schema
        self._types.define(schema.name, schema.encoding, schema.data.decode("utf-8", "replace"))

    def _add_channel(self, channel: Channel, count: int) -> None:
        if channel.id in self._channels:
            return
        self._channels[channel.id] = channel
        schema = self._schemas.get(channel.schema_id)
        latched = is_latched(channel.metadata.get("offered_qos_profiles", ""))
        self._add(Topic(channel.topic, schema.name if schema else "", count, latched, channel.message_encoding))

    def _read(self, topics: Collection[str]) -> Iterator[Message]:
        if not self._chunks:
            for message in self._scan():
                if message.topic in topics:
                    yield message
            return
        wanted = {number for number, channel in self._channels.items() if channel.topic in topics}
        with open(self._path, "rb") as stream:
            yield from merge_by_time(
                (chunk.message_start_time, partial(self._chunk_by_time, stream, chunk, wanted))
                for chunk in self._chunks
                # Writers may leave out the index of the messages within a chunk.
                if not chunk.message_index_offsets or wanted & chunk.message_index_offsets.keys()
            )

    def _chunk_by_time(self, stream: BinaryIO, index: ChunkIndex, wanted: Collection[int]) -> Iterator[Message]:
        try:
            stream.seek(index.chunk_start_offset + _RECORD.size)
            chunk = Chunk.read(ReadDataStream(stream))
            messages = sorted(self._messages_in(chunk, wanted), key=lambda message: message.stamp_ns)
        except Exception as error:  # noqa: BLE001 parsers raise errors of any type on damaged data
            seconds = (index.message_start_time - (self.start_ns or 0)) / 1e9
            self._lose(f"the messages of a chunk at {seconds:.2f} s are lost: {one_line(error)}")
            return
        yield from messages

    def _messages_in(self, chunk: Chunk, wanted: Collection[int]) -> Iterator[Message]:
        content, size = get_chunk_data_stream(chunk, validate_crc=True)
        data = content.read(size)
        position = 0
        while position < size:
            opcode, length = _RECORD.unpack_from(data, position)
            position += _RECORD.size
            if opcode == _MESSAGE_OPCODE:
                number, _, stamp_ns, _ = _MESSAGE.unpack_from(data, position)
                if number in wanted:
                    yield self._message(number, stamp_ns, data[position + _MESSAGE.size : position + length])
            position += length

    def _scan(self) -> Iterator[Message]:
        """All messages in the order of the file."""
        with open(self._path, "rb") as stream:
            for record in StreamReader(stream).records:
                if isinstance(record, Schema):
                    self._add_schema(record)
                elif isinstance(record, Channel):
                    self._add_channel(record, 0)
                elif isinstance(record, McapMessage):
                    yield self._message(record.channel_id, record.log_time, record.data)

    def _message(self, number: int, stamp_ns: int, data: bytes) -> Message:
        topic = self._channels[number].topic
        return Message(topic, self.topics[topic].type, stamp_ns, data)

    def _explain(self, error: Exception) -> str:
        return "the file ends" if type(error).__name__ == "EndOfFile" else one_line(error)


def is_latched(profiles: str | list) -> bool:
    """Whether one of the offered QoS profiles, as rosbag2 stores them, is transient local."""
    if isinstance(profiles, str):
        profiles = (_parsed(profiles) or []) if "durability" in profiles else []
    # Up to version 8 of rosbag2's metadata, 1 is transient local.
    durability = [profile.get("durability") for profile in profiles or [] if isinstance(profile, dict)]
    return any(value == 1 or str(value).lower() == "transient_local" for value in durability)


@functools.cache
def _parsed(profiles: str) -> list | None:
    # Most topics of a bag have the same few texts.
    try:
        return yaml.load(profiles, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return None
