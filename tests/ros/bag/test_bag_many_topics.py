"""Bags of very many topics: bounded output, and one line for what is refused."""

import json

import pytest
from bag_cases import run_cli
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_ros.bag import folder
from lsabinet_ros.bag.player import BagPlayer
from lsabinet_ros.bag.reader import open_bag

COUNT = 6000
"""More topics than are described or played."""
STRING, IMAGE = "std_msgs/msg/String", "sensor_msgs/msg/CompressedImage"
HELLO = b"\x00\x01\x00\x00\x02\x00\x00\x00a\x00"
"""A std_msgs/String in CDR."""


def write_topics(path, type_name, last_type=None):
    """An mcap file with one message on each of COUNT topics, the last of which is of another type."""
    with open(path, "wb") as stream:
        writer = McapWriter(stream)
        writer.start("ros2")
        schemas = [writer.register_schema(name, "ros2msg", b"") for name in (type_name, last_type or type_name)]
        for index in range(COUNT):
            channel = writer.register_channel(f"/topic_{index:05d}", "cdr", schemas[index == COUNT - 1])
            writer.add_message(channel, index, HELLO, index)
        writer.finish()
    return path


@pytest.fixture(scope="module")
def strings(tmp_path_factory):
    """A bag of strings, with images on its last topic."""
    return write_topics(tmp_path_factory.mktemp("strings") / "many.mcap", STRING, IMAGE)


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """A bag of images only."""
    return write_topics(tmp_path_factory.mktemp("cameras") / "many.mcap", IMAGE)


def test_an_unknown_topic_is_refused_in_a_short_line(strings, error_of):
    with open_bag(strings) as bag:
        message = error_of(list, bag.messages(["/nothing"]))
    assert len(message) < 2000
    assert f"{COUNT - 20} more" in message


def test_info_lists_images_and_the_first_topics_and_counts_the_rest(strings, tmp_path, capsys):
    assert run_cli("info", strings, "--json", tmp_path / "info.json") == 0
    lines = capsys.readouterr().out.splitlines()
    topics = [line.split()[0] for line in lines if line.startswith("/topic")]
    assert topics == [f"/topic_{COUNT - 1:05d}", *(f"/topic_{index:05d}" for index in range(199))]
    assert f"{COUNT - 200} more topics" in lines[-1]
    assert len(json.loads((tmp_path / "info.json").read_text())["topics"]) == COUNT


def test_play_takes_a_bounded_number_of_topics(strings, error_of):
    with open_bag(strings) as bag:
        message = error_of(BagPlayer, bag)
        assert "5000" in message
        assert f"{COUNT}" in message
        assert "--topics" in message
        assert BagPlayer(bag, topics=["/topic_00007"])


def test_evaluate_names_the_first_of_many_cameras(cameras, tmp_path, error_of):
    message = error_of(run_cli, "evaluate", cameras, "--out", tmp_path / "report")
    assert message.startswith("several image topics")
    assert f"{COUNT - 20} more; choose one with --image-topic" in message
    assert len(message) < 2000


@pytest.fixture
def recorded(tmp_path):
    """A bag with 100 topics, whose metadata.yaml declares a second message on each one."""
    path = tmp_path / "recorded"
    types = get_typestore(Stores.ROS2_JAZZY)
    with Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for index in range(100):
            writer.write(writer.add_connection(f"/topic_{index:05d}", STRING, typestore=types), index, HELLO)
    metadata = path / "metadata.yaml"
    text = metadata.read_text()
    changed = text.replace("message_count: 1\n", "message_count: 2\n")
    assert changed != text
    metadata.write_text(changed)
    return path


def test_losses_on_very_many_topics_are_counted(recorded):
    with open_bag(recorded) as bag:
        assert len(bag.losses) == 21
        assert all("1 of 2 messages on /topic_" in loss for loss in bag.losses[:-1])
        assert "80 more topics" in bag.losses[-1]


def test_metadata_that_would_take_too_long_is_not_read(recorded, monkeypatch):
    monkeypatch.setattr(folder, "MAX_METADATA_BYTES", (recorded / "metadata.yaml").stat().st_size - 1)
    with open_bag(recorded) as bag:
        (loss,) = bag.losses
        assert "metadata.yaml is not read" in loss
        assert len(list(bag.messages())) == 100
