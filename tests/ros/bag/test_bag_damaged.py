"""Truncated, empty, foreign and corrupt bags: what is readable is read, and errors are one line."""

import logging
import shutil

import pytest
from bag_cases import run_cli, samples, stamp_of, write
from mcap.reader import NonSeekingReader
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import open_bag

COUNT = 40


def cut(path, share: float):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A single file of 40 labelled frames in each storage; images of 300 kB, so that mcap writes several chunks."""
    folder = tmp_path_factory.mktemp("whole")
    frames = samples(COUNT, size=(192, 256))
    return {suffix: write(folder / f"drive{suffix}", frames) for suffix in (".mcap", ".db3")}


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_readable_part_of_a_truncated_file_is_read(tmp_path, whole, suffix, share, caplog):
    path = cut(shutil.copy(whole[suffix], tmp_path / f"cut{suffix}"), share)
    with caplog.at_level(logging.WARNING), open_bag(path) as bag:
        found = list(bag.messages())
        (loss,) = bag.losses
        assert str(len(found)) in loss
        assert str(path) in loss
        assert loss in caplog.text
        assert sum(topic.count for topic in bag.topics.values()) == len(found)
        assert share * 2 * COUNT - 12 <= len(found) <= share * 2 * COUNT + 1
        with open_bag(whole[suffix]) as original:
            assert found == list(original.messages())[: len(found)]
        assert (bag.start_ns, bag.end_ns) == (stamp_of(0), found[-1].stamp_ns)
        assert bag.deserialize(found[0]).encoding == "bgr8"
        labels = list(bag.messages(["/camera/labels"]))
        assert labels == [message for message in found if message.topic == "/camera/labels"]


def test_recovery_finds_the_same_messages_as_the_mcap_library(tmp_path, whole):
    path = cut(shutil.copy(whole[".mcap"], tmp_path / "cut.mcap"), 0.6)
    expected = []
    with open(path, "rb") as stream, pytest.raises(Exception):  # noqa: B017 at the end of the file
        for _, channel, message in NonSeekingReader(stream).iter_messages(log_time_order=False):
            expected.append((channel.topic, message.log_time, message.data))
    assert expected
    with open_bag(path) as bag:
        assert [(message.topic, message.stamp_ns, message.data) for message in bag.messages()] == expected


def test_a_truncated_file_in_a_rosbag2_folder(tmp_path):
    path = write(tmp_path / "drive", samples(COUNT))
    cut(path / "drive.mcap", 0.7)
    with open_bag(path) as bag:
        assert bag.losses
        assert 0 < len(list(bag.messages())) < 2 * COUNT


def test_reading_ends_where_the_damage_starts(tmp_path, whole, caplog):
    path = shutil.copy(whole[".db3"], tmp_path / "damaged.db3")
    data = bytearray(path.read_bytes())
    # The header and the schema stay; the pages of later messages become noise.
    middle = len(data) // 2
    data[middle : middle + 400_000] = bytes(range(256)) * (400_000 // 256) + bytes(400_000 % 256)
    path.write_bytes(data)
    with open_bag(path) as bag:
        found = list(bag.messages())
        with open_bag(whole[".db3"]) as original:
            originals = list(original.messages())
        readable = [message for message in found if message in originals]
        assert len(readable) >= 20
        assert len(found) == 2 * COUNT or bag.losses


@pytest.mark.parametrize("name", ["x.mcap", "x.db3", "x.bag"])
@pytest.mark.parametrize("content", [b"", b"this is a text, not a bag\n" * 50])
def test_empty_and_foreign_files(tmp_path, error_of, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    message = error_of(open_bag, path)
    assert str(path) in message
    assert ("empty" in message.replace(str(path), "")) == (content == b"")


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_a_file_that_ends_before_its_first_message(tmp_path, whole, suffix, error_of):
    path = tmp_path / f"stub{suffix}"
    path.write_bytes(whole[suffix].read_bytes()[:5000])
    assert str(path) in error_of(open_bag, path)


def test_other_paths(tmp_path, error_of):
    assert "missing.mcap" in error_of(open_bag, tmp_path / "missing.mcap")
    (tmp_path / "notes.txt").write_text("notes")
    assert "notes.txt" in error_of(open_bag, tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in error_of(open_bag, tmp_path / "empty")
    bag = write(tmp_path / "drive", samples(1))
    (bag / "metadata.yaml").write_text("not: [a, bag")
    with open_bag(bag) as opened:  # the storage file has all that is needed
        assert opened.topics["/camera/image_raw"].count == 1
        (loss,) = opened.losses
        assert "metadata.yaml" in loss


def test_a_truncated_ros1_bag(tmp_path, error_of):
    types = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "old.bag"
    with Rosbag1Writer(path) as writer:
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=types)
        message = types.types["std_msgs/msg/String"]("x" * 1000)
        for index in range(50):
            writer.write(connection, index, types.serialize_ros1(message, "std_msgs/msg/String"))
    cut(path, 0.5)
    assert "rosbag reindex" in error_of(open_bag, path)


def test_a_corrupt_message_is_a_bag_error(tmp_path):
    path = write(tmp_path / "drive.mcap", samples(2))
    with open_bag(path) as bag:
        message = next(iter(bag.messages(["/camera/image_raw"])))
        for data in (b"", message.data[:3], message.data[:30], message.data[:-10]):
            with pytest.raises(BagError, match=r"sensor_msgs/msg/Image .*/camera/image_raw"):
                bag.to_cdr(message._replace(data=data))


def test_unknown_topics_are_named(tmp_path, error_of):
    path = write(tmp_path / "drive.mcap", samples(1))
    with open_bag(path) as bag:
        assert "/camera/image_raw (sensor_msgs/msg/Image)" in error_of(list, bag.messages(["/nothing"]))


def test_info_of_a_truncated_bag(tmp_path, whole, capsys):
    path = cut(shutil.copy(whole[".mcap"], tmp_path / "cut.mcap"), 0.5)
    assert run_cli("info", path) == 3
    with open_bag(path) as bag:
        assert bag.losses[0] in capsys.readouterr().out
