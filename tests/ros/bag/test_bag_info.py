"""``lsabinet bag info`` of ROS 2 and ROS 1 bags with known content."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from bag_cases import START_NS, run_cli, samples, write
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_ros.bag.info import describe
from lsabinet_ros.bag.reader import open_bag


def write_ros1(path, frames):
    """A ROS 1 bag with bgr8 images at 10 Hz; only ROS 1 has header.seq."""
    types = get_typestore(Stores.ROS1_NOETIC)
    header_class = types.types["std_msgs/msg/Header"]
    time_class = types.types["builtin_interfaces/msg/Time"]
    with Rosbag1Writer(path) as writer:
        connection = writer.add_connection("/camera/image_raw", "sensor_msgs/msg/Image", typestore=types)
        for index, frame in enumerate(frames):
            stamp_ns = START_NS + index * 10**8
            header = header_class(seq=index, stamp=time_class(*divmod(stamp_ns, 10**9)), frame_id="camera")
            image = types.types["sensor_msgs/msg/Image"](header, 96, 128, "bgr8", 0, 384, frame.image.reshape(-1))
            writer.write(connection, stamp_ns, types.serialize_ros1(image, "sensor_msgs/msg/Image"))
    return path


def test_figures_of_a_known_bag(tmp_path, capsys):
    path = write(tmp_path / "drive.mcap", samples(11, labelled=lambda index: index < 3), rate=Fraction(20))
    assert run_cli("info", path, "--json", tmp_path / "info.json") == 0
    info = json.loads((tmp_path / "info.json").read_text())
    assert info["format"] == "mcap"
    assert info["messages"] == 14
    assert info["lost"] == []
    assert info["duration_s"] == pytest.approx(0.5)
    images, labels = info["topics"]
    assert (images["name"], images["type"], images["count"]) == ("/camera/image_raw", "sensor_msgs/msg/Image", 11)
    assert images["rate_hz"] == pytest.approx(20)
    assert images["gaps"] == 0
    assert images["corrupt"] == 0
    assert images["images"] == [{"height": 96, "width": 128, "encoding": "bgr8", "count": 11}]
    assert (labels["count"], labels["images"][0]["encoding"]) == (3, "mono8")
    text = capsys.readouterr().out
    assert "20.000 Hz" in text
    assert "96x128 bgr8: 11" in text


def test_gaps_corrupt_messages_and_other_types(tmp_path):
    types = get_typestore(Stores.ROS2_JAZZY)
    string = types.types["std_msgs/msg/String"]
    with Rosbag2Writer(tmp_path / "mixed", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        chatter = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=types)
        camera = writer.add_connection("/image", "sensor_msgs/msg/Image", typestore=types)
        for tick in (0, 1, 2, 3, 9, 10):
            data = types.serialize_cdr(string("hello"), "std_msgs/msg/String")
            writer.write(chatter, tick * 10**8, bytes(data))
        writer.write(camera, 0, b"\x00\x01\x00\x00 no image")
    with open_bag(tmp_path / "mixed") as bag:
        chatter, camera = describe(bag)["topics"]
    assert (chatter["gaps"], chatter["images"]) == (1, None)
    assert chatter["longest_gap_s"] == pytest.approx(0.6)
    assert chatter["rate_hz"] == pytest.approx(5)
    assert (camera["count"], camera["corrupt"], camera["rate_hz"]) == (1, 1, None)


def test_compressed_images_have_a_size(tmp_path):
    path = write(tmp_path / "drive.db3", samples(1), compression="jpeg")
    assert run_cli("info", path, "--json", tmp_path / "info.json") == 0
    (topic, _) = json.loads((tmp_path / "info.json").read_text())["topics"]
    assert topic["images"] == [{"height": 96, "width": 128, "encoding": "bgr8; jpeg compressed bgr8", "count": 1}]


def test_a_ros1_bag(tmp_path, capsys):
    frames = samples(4)
    path = write_ros1(tmp_path / "old.bag", frames)
    assert run_cli("info", path) == 0
    text = capsys.readouterr().out
    assert "(ros1, 4 messages, 0.300 s)" in text
    assert "10.000 Hz" in text
    assert "96x128 bgr8: 4" in text
    types = get_typestore(Stores.ROS2_JAZZY)
    with open_bag(path) as bag:
        for index, message in enumerate(bag.messages()):
            # what the player would publish, read as ROS 2 would read it
            image = types.deserialize_cdr(bag.to_cdr(message), "sensor_msgs/msg/Image")
            assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == START_NS + index * 10**8
            assert np.array_equal(image.data.reshape(96, 128, 3), frames[index].image)


def test_help_needs_neither_torch_nor_ros():
    program = """
import argparse, sys
from lsabinet_ros.bag import cli
parser = argparse.ArgumentParser()
cli.add_arguments(parser)
print(parser.format_help())
print(sorted({"torch", "rclpy", "cv2", "numpy", "rosbags"} & set(sys.modules)))
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert all(verb in process.stdout for verb in ("make", "info", "play", "evaluate"))
    assert process.stdout.splitlines()[-1] == "[]"
