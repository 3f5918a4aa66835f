"""Bags as recorders leave them: split, renamed, compressed, with edited metadata or with channels that are not ROS."""

import json
import shutil

import pytest
import yaml
import zstandard
from bag_cases import RATE, START_NS, run_cli, samples, stamp_of, write
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.settings import BagSettings
from lsabinet_ros.bag.writer import make_bag

TYPES = get_typestore(Stores.ROS2_JAZZY)
IMAGE, LABELS = "/camera/image_raw", "/camera/labels"
STRING = "std_msgs/msg/String"
SETTINGS = BagSettings()
LATCHED = {"history": "keep_last", "depth": 1, "reliability": "reliable", "durability": "transient_local"}


def read_metadata(folder):
    return yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]


def write_metadata(folder, metadata):
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": metadata}))


@pytest.fixture
def split(tmp_path):
    """A rosbag2 folder of three files with two labelled frames each; returns (folder, names of the files)."""
    frames = samples(6)
    folder = tmp_path / "drive"
    folder.mkdir()
    metadata, names = None, []
    for part in range(3):
        written = tmp_path / f"drive_{part}"
        start_ns = START_NS + 2 * part * 1_000_000_000 * RATE.denominator // RATE.numerator
        make_bag(frames[2 * part : 2 * part + 2], written, rate=RATE, start_ns=start_ns, settings=SETTINGS)
        shutil.move(written / f"drive_{part}.mcap", folder)
        names.append(f"drive_{part}.mcap")
        metadata = metadata or read_metadata(written)
    metadata["relative_file_paths"] = list(names)
    metadata["message_count"] = 12
    for topic in metadata["topics_with_message_count"]:
        topic["message_count"] = 6
    write_metadata(folder, metadata)
    return folder, names


def stamps_in(folder, topic=IMAGE):
    with open_bag(folder) as bag:
        return [message.stamp_ns for message in bag.messages([topic])], bag.losses


def about(index, stamp_ns):
    """Whether a stamp is that of frame ``index``, except for the rounding at the start of each file."""
    return abs(stamp_ns - stamp_of(index)) <= 2


def test_a_whole_split_bag_is_read_in_the_order_of_time(split):
    folder, names = split
    metadata = read_metadata(folder)
    metadata["relative_file_paths"] = [names[2], names[0], names[1]]
    write_metadata(folder, metadata)
    stamps, losses = stamps_in(folder)
    assert losses == []
    assert len(stamps) == 6
    assert all(about(index, stamp_ns) for index, stamp_ns in enumerate(stamps))


def test_overlapping_files_are_merged_by_time(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for part in range(2):
        start_ns = START_NS + part * 50_000_000
        make_bag(samples(4), tmp_path / f"part_{part}.mcap", rate=10, start_ns=start_ns, settings=SETTINGS)
        shutil.move(tmp_path / f"part_{part}.mcap", folder)
    stamps, _ = stamps_in(folder)
    assert stamps == [START_NS + index * 50_000_000 for index in range(8)]


def test_qos_in_the_metadata_that_differs_from_the_file_loses_nothing(split):
    folder, _ = split
    metadata = read_metadata(folder)
    for topic in metadata["topics_with_message_count"]:
        if topic["topic_metadata"]["name"] == LABELS:
            topic["topic_metadata"]["offered_qos_profiles"] = [LATCHED]
    write_metadata(folder, metadata)
    with open_bag(folder) as bag:
        counts = {topic.name: topic.count for topic in bag.topics.values()}
        read = [message.topic for message in bag.messages()]
        assert (bag.topics[IMAGE].latched, bag.topics[LABELS].latched) == (False, True)
        assert bag.losses == []
    assert counts == {IMAGE: 6, LABELS: 6}
    assert (read.count(IMAGE), read.count(LABELS)) == (6, 6)


def test_more_messages_declared_than_read_is_a_loss(split, capsys):
    folder, _ = split
    metadata = read_metadata(folder)
    metadata["topics_with_message_count"][0]["message_count"] = 9
    write_metadata(folder, metadata)
    assert run_cli("info", folder) == 3
    name = metadata["topics_with_message_count"][0]["topic_metadata"]["name"]
    assert f"3 of 9 messages on {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "frames", "named"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:2000]), [0, 1, 2, 3], "drive_2.mcap"),
        (lambda file: file.write_bytes(b""), [0, 1, 2, 3], "drive_2.mcap"),
        (lambda file: file.unlink(), [0, 1, 2, 3], "drive_2.mcap"),
        (lambda file: file.rename(file.with_name("night.mcap")), [0, 1, 2, 3, 4, 5], "drive_2.mcap"),
        (lambda file: (file.parent / "metadata.yaml").unlink(), [0, 1, 2, 3, 4, 5], "ros2 bag reindex"),
        (lambda file: (file.parent / "metadata.yaml").write_text("a: [b"), [0, 1, 2, 3, 4, 5], "metadata.yaml"),
    ],
    ids=["cut", "empty", "missing", "renamed", "no metadata", "broken metadata"],
)
def test_what_is_lost_of_a_split_bag_is_named(split, damage, frames, named):
    folder, names = split
    damage(folder / names[2])
    stamps, losses = stamps_in(folder)
    assert len(stamps) == len(frames)
    assert all(about(index, stamp_ns) for index, stamp_ns in zip(frames, stamps))
    assert any(named in loss for loss in losses)
    assert any(f"2 of 6 messages on {LABELS}" in loss for loss in losses) == (len(frames) < 6)
    assert run_cli("info", folder) == 3


def test_a_storage_identifier_that_reindexing_left_empty(split):
    folder, _ = split
    write_metadata(folder, {**read_metadata(folder), "storage_identifier": ""})
    stamps, losses = stamps_in(folder)
    assert (len(stamps), losses) == (6, [])


def test_a_damaged_chunk_loses_only_itself(tmp_path):
    path = tmp_path / "drive.mcap"
    with open(path, "wb") as stream:
        writer = McapWriter(stream, chunk_size=1000, compression=CompressionType.ZSTD)
        writer.start("ros2")
        schema = writer.register_schema(STRING, "ros2msg", b"string data\n")
        channel = writer.register_channel("/chatter", "cdr", schema)
        for index in range(30):
            data = bytes(TYPES.serialize_cdr(TYPES.types[STRING](f"{index}" * 900), STRING))
            writer.add_message(channel, index, data, index)
        writer.finish()
    content = bytearray(path.read_bytes())
    middle = content.index(b"\x28\xb5\x2f\xfd", len(content) // 2)
    content[middle + 4 : middle + 12] = b"\xff" * 8
    path.write_bytes(content)
    with open_bag(path) as bag:
        stamps = [message.stamp_ns for message in bag.messages()]
        (loss,) = bag.losses
        assert stamps == sorted(stamps)
        assert 27 <= len(stamps) <= 29
        assert str(path) in loss
        assert [message.stamp_ns for message in bag.messages()] == stamps
        assert bag.losses == [loss]


@pytest.mark.parametrize("name", ["drive.mcap.zstd", "drive.db3.zstd", "DRIVE.MCAP", "drive.MCAP.ZSTD"])
def test_a_single_file_that_is_compressed_or_has_an_uppercase_suffix(tmp_path, name):
    suffix = ".db3" if ".db3" in name else ".mcap"
    whole = write(tmp_path / f"whole{suffix}", samples(2))
    content = whole.read_bytes()
    path = tmp_path / name
    path.write_bytes(zstandard.compress(content) if name.lower().endswith("zstd") else content)
    with open_bag(path) as bag, open_bag(whole) as original:
        assert list(bag.messages()) == list(original.messages())
        assert (bag.format, bag.losses) == (original.format, [])


def write_strings(path, mode):
    with_compression = Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    with_compression.set_compression(mode, CompressionFormat.ZSTD)
    with with_compression as writer:
        connection = writer.add_connection("/chatter", STRING, typestore=TYPES)
        for index in range(3):
            writer.write(connection, index, bytes(TYPES.serialize_cdr(TYPES.types[STRING](f"hello {index}"), STRING)))


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_compressed_recordings(tmp_path, mode):
    write_strings(tmp_path / "drive", mode)
    alone = next(file for file in (tmp_path / "drive").iterdir() if "mcap" in file.name)
    for path in (tmp_path / "drive", alone):
        with open_bag(path) as bag:
            texts = [bag.deserialize(message).data for message in bag.messages(["/chatter"])]
            assert texts == ["hello 0", "hello 1", "hello 2"]
            assert (bag.format, bag.losses) == ("mcap", [])


def test_a_cut_compressed_file(tmp_path):
    frames = samples(40, size=(192, 256))
    whole = zstandard.compress(write(tmp_path / "whole.mcap", frames).read_bytes())
    path = tmp_path / "cut.mcap.zstd"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with open_bag(path) as bag:
        assert 10 <= len(list(bag.messages([IMAGE]))) < 40
        assert any(str(path) in loss for loss in bag.losses)


def test_channels_that_are_not_ros_messages_are_named_and_the_rest_is_read(tmp_path, capsys):
    path = tmp_path / "mixed.mcap"
    string = bytes(TYPES.serialize_cdr(TYPES.types[STRING]("hello"), STRING))
    with open(path, "wb") as stream:
        writer = McapWriter(stream)
        writer.start("")
        schemas = {
            "json": writer.register_schema("Status", "jsonschema", b"{}"),
            "protobuf": writer.register_schema("pkg.Status", "protobuf", b"\x00\xff"),
            "event": writer.register_schema(
                "example_interfaces/srv/AddTwoInts_Event", "ros2msg", b"{ not a definition"
            ),
            "known": writer.register_schema(STRING, "ros2msg", b""),
        }
        for topic, encoding, schema, data in (
            ("/status", "json", schemas["json"], b"{}"),
            ("/proto", "protobuf", schemas["protobuf"], b"\x08\x01"),
            ("/add/_service_event", "cdr", schemas["event"], b"\x00\x01\x00\x00"),
            ("/chatter", "cdr", schemas["known"], string),
        ):
            writer.add_message(writer.register_channel(topic, encoding, schema), 5, data, 5)
        writer.finish()
    assert run_cli("info", path, "--json", tmp_path / "info.json") == 0
    topics = {topic["name"]: topic for topic in json.loads((tmp_path / "info.json").read_text())["topics"]}
    assert {name: topic["encoding"] for name, topic in topics.items()} == {
        "/status": "json",
        "/proto": "protobuf",
        "/add/_service_event": "cdr",
        "/chatter": "cdr",
    }
    assert all(topic["count"] == 1 for topic in topics.values())
    assert "in json" in capsys.readouterr().out
    with open_bag(path) as bag:
        (chatter,) = bag.messages(["/chatter"])
        assert bag.deserialize(chatter).data == "hello"
        assert bag.to_cdr(chatter) == string
