"""Read a rosbag2 folder: all its readable storage files as one stream, ordered by time."""

import dataclasses
import shutil
import tempfile
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import yaml
import zstandard

from lsabinet_core.errors import BagError, one_line
from lsabinet_core.files import read_text
from lsabinet_ros.bag.mcap_file import McapFile, is_latched
from lsabinet_ros.bag.message_types import MessageTypes
from lsabinet_ros.bag.sqlite_file import SqliteFile
from lsabinet_ros.bag.storage import Message, StorageFile, Topic, first_losses, merge_by_time

COMPRESSED_SUFFIX = ".zstd"
MAX_METADATA_BYTES = 8_000_000
"""Larger metadata.yaml files are not read: 8 MB describe about 10,000 topics, and take 15 s to parse."""


def is_storage_file(path: Path) -> bool:
    """Whether a file's name is that of a rosbag2 storage file, compressed or not, in upper or lower case."""
    return _format_of(path) is not None


def _format_of(path: Path) -> type[StorageFile] | None:
    name = path.name.lower().removesuffix(COMPRESSED_SUFFIX)
    return McapFile if name.endswith(".mcap") else SqliteFile if name.endswith(".db3") else None


class StorageFiles:
    """One or several storage files of rosbag2 that form a bag.

    ``losses`` describe what cannot be read, with the name of the file. ``metadata.yaml`` is only compared with the
    files: their messages are read whatever it says.

    Args:
        paths: the storage files, in any order.
        metadata: content of ``metadata.yaml`` below its root key; empty if there is none.
        losses: losses that are already known.

    Raises:
        BagError: no file can be read.
    """

    def __init__(self, paths: list[Path], metadata: dict | None = None, losses: Collection[str] = ()):
        self._types = MessageTypes()
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._losses = list(losses)
        self._files: list[StorageFile] = []
        problems: list[str] = []
        try:
            for path in paths:
                try:
                    self._files.append(self._open(path))
                except BagError as error:
                    problems.append(str(error))
            if not self._files:
                raise BagError("; ".join(problems))
        except BaseException:
            self.close()
            raise
        self._losses += problems
        self.format = self._files[0].format
        self.topics = self._merged_topics(metadata or {})
        self.start_ns = min((file.start_ns for file in self._files if file.start_ns is not None), default=None)
        self.end_ns = max((file.end_ns for file in self._files if file.end_ns is not None), default=None)
        self._compare_counts(metadata or {})

    @property
    def losses(self) -> list[str]:
        return [*self._losses, *(loss for file in self._files for loss in file.losses)]

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        # Bags may have thousands of topics.
        topics = frozenset(topics)
        yield from merge_by_time(
            (file.start_ns, partial(file.messages, topics)) for file in self._files if file.start_ns is not None
        )

    def deserialize(self, message: Message) -> object:
        return self._types.deserialize(message.data, message.type)

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def _open(self, path: Path) -> StorageFile:
        try:
            if path.stat().st_size == 0:
                raise BagError(f"{path} is empty")
            damage = None
            stored = path
            if path.name.lower().endswith(COMPRESSED_SUFFIX):
                stored, damage = self._decompress(path)
            open_file = _format_of(path)
            assert open_file is not None, "only storage files are opened"
            file = open_file(stored, self._types, str(path))
        except OSError as error:
            raise BagError(f"cannot read {path}: {error.strerror or error}") from error
        if damage:
            file.losses.insert(0, f"{path}: {damage}")
        return file

    def _decompress(self, path: Path) -> tuple[Path, str | None]:
        """The decompressed file, and a description of what is lost."""
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="lsabinet_bag_")
        target = Path(self._temporary.name) / path.name[: -len(COMPRESSED_SUFFIX)]
        with open(path, "rb") as source, open(target, "wb") as sink:
            reader = zstandard.ZstdDecompressor().stream_reader(source)
            try:
                shutil.copyfileobj(reader, sink)
            except zstandard.ZstdError as error:
                return target, f"its compressed data is damaged: {one_line(error)}"
        return target, None

    def _merged_topics(self, metadata: dict) -> dict[str, Topic]:
        merged: dict[str, Topic] = {}
        for file in self._files:
            for topic in file.topics.values():
                earlier = merged.get(topic.name)
                count = topic.count + (earlier.count if earlier else 0)
                latched = topic.latched or bool(earlier and earlier.latched)
                merged[topic.name] = dataclasses.replace(earlier or topic, count=count, latched=latched)
        for declared in _declared_topics(metadata):
            name, profiles = declared["name"], declared.get("offered_qos_profiles")
            # `ros2 bag play` follows metadata.yaml, which people edit to change the QoS of playback.
            if name in merged and profiles:
                merged[name] = dataclasses.replace(merged[name], latched=is_latched(profiles))
        return merged

    def _compare_counts(self, metadata: dict) -> None:
        declared = {topic["name"]: topic["message_count"] for topic in _declared_topics(metadata)}
        found = {name: self.topics[name].count if name in self.topics else 0 for name in declared}
        self._losses += first_losses(
            f"{count - found[name]} of {count} messages on {name} that metadata.yaml declares are in no readable file"
            for name, count in declared.items()
            if found[name] < count
        )


def _declared_topics(metadata: dict) -> Iterator[dict]:
    topics = metadata.get("topics_with_message_count")
    for entry in topics if isinstance(topics, list) else []:
        topic = entry.get("topic_metadata") if isinstance(entry, dict) else None
        if isinstance(topic, dict) and isinstance(topic.get("name"), str):
            count = entry.get("message_count")
            yield {**topic, "message_count": count if isinstance(count, int) else 0}


def open_folder(path: Path) -> StorageFiles:
    """Open a rosbag2 folder, also without ``metadata.yaml`` or with one that does not match the files.

    Raises:
        BagError: the folder has no storage file, or none that can be read.
    """
    found = {file.name: file for file in sorted(path.iterdir()) if is_storage_file(file) and file.is_file()}
    # Leave out the compressed copy of a file that was decompressed by hand.
    found = {
        name: file
        for name, file in found.items()
        if not (name.lower().endswith(COMPRESSED_SUFFIX) and name[: -len(COMPRESSED_SUFFIX)] in found)
    }
    if not found:
        raise BagError(f"{path} is not a rosbag2 folder: it has no .mcap or .db3 file")
    metadata, losses = _read_metadata(path)
    listed = metadata.get("relative_file_paths")
    names = [PurePosixPath(str(name)).name for name in listed] if isinstance(listed, list) else list(found)
    for name in names:
        if name not in found and name.removesuffix(COMPRESSED_SUFFIX) not in found:
            losses.append(f"{path / name} is listed in metadata.yaml, but missing")
    try:
        return StorageFiles(list(found.values()), metadata, losses)
    except BagError as error:
        raise BagError(f"cannot read the rosbag2 folder {path}: {one_line(error)}") from None


def _read_metadata(path: Path) -> tuple[dict, list[str]]:
    """The content of ``metadata.yaml``; without it, the loss is the knowledge of how many messages there should be."""
    file = path / "metadata.yaml"
    unknown = "so missing files would not be noticed"
    try:
        if file.stat().st_size > MAX_METADATA_BYTES:
            return {}, [f"{file} is not read because it has more than {MAX_METADATA_BYTES / 1e6:g} MB, {unknown}"]
        content = yaml.load(read_text(file), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        metadata = content["rosbag2_bagfile_information"]
        if not isinstance(metadata, dict):
            raise TypeError
    except FileNotFoundError:
        return {}, [f"{path} has no metadata.yaml, {unknown}; `ros2 bag reindex {path}` writes one"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}, [f"{file} cannot be read, {unknown}"]
    return metadata, []
