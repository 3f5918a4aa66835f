"""Read a .db3 file: by time, or in writing order if it is damaged."""

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from lsabinet_ros.bag.mcap_file import is_latched
from lsabinet_ros.bag.message_types import MessageTypes
from lsabinet_ros.bag.storage import Message, StorageFile, Topic


class SqliteFile(StorageFile):
    """A sqlite file. The time index of a damaged one is not used, because it spans pages of the whole file."""

    format = "sqlite3"

    def __init__(self, path: Path, types: MessageTypes, name: str):
        super().__init__(path, types, name)
        self._names: dict[int, str] = {}
        self._whole = self._read_index()
        if not self._whole:
            self.topics, self.start_ns, self.end_ns = {}, None, None
            self._count_all(self._scan())

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.resolve().as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            yield connection

    def _read_index(self) -> bool:
        """Count the messages of each topic; returns False if the file has to be scanned."""
        try:
            with self._connection() as connection:
                self._read_topics(connection)
                counted = connection.execute(
                    "SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages GROUP BY topic_id"
                ).fetchall()
        except sqlite3.Error:
            return False
        for topic_id, count, first_ns, last_ns in counted:
            if topic_id not in self._names:
                return False
            name = self._names[topic_id]
            self._add(Topic(name, self.topics[name].type, count))
            self._note_stamp(first_ns)
            self._note_stamp(last_ns)
        return True

    def _read_topics(self, connection: sqlite3.Connection) -> None:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(topics)")}
        profiles = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        query = f"SELECT id, name, type, serialization_format, {profiles} FROM topics"
        for topic_id, name, type_name, encoding, qos in connection.execute(query):
            if topic_id not in self._names or name not in self.topics:
                self._names[topic_id] = name
                self._add(Topic(name, type_name, 0, is_latched(qos), encoding))
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if "message_definitions" in tables:
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            for row in connection.execute(query):
                self._types.define(*row)

    def _read(self, topics: Collection[str]) -> Iterator[Message]:
        if not self._whole:
            for message in self._scan():
                if message.topic in topics:
                    yield message
            return
        wanted = [topic_id for topic_id, name in self._names.items() if name in topics]
        # The ids are integers of the file's own; sqlite allows too few parameters for thousands of topics.
        query = (
            "SELECT topic_id, timestamp, data FROM messages "
            f"WHERE topic_id IN ({','.join(map(str, map(int, wanted)))}) ORDER BY timestamp"
        )
        with self._connection() as connection:
            for topic_id, stamp_ns, data in connection.execute(query):
                name = self._names[topic_id]
                yield Message(name, self.topics[name].type, stamp_ns, data)

    def _scan(self) -> Iterator[Message]:
        with self._connection() as connection:
            # Without this, sqlite rejects a file that is shorter than its header claims.
            connection.execute("PRAGMA writable_schema=ON")
            if not self.topics:
                self._read_topics(connection)
            for topic_id, stamp_ns, data in connection.execute(
                "SELECT topic_id, timestamp, data FROM messages ORDER BY id"
            ):
                name = self._names[topic_id]
                yield Message(name, self.topics[name].type, stamp_ns, data)
