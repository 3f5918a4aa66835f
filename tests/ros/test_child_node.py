"""The node as a child process: its command, and the engine that is built before it starts."""

import json
import sys
import time
from fractions import Fraction

import numpy as np
import pytest

from lsabinet_core.data.sample import Sample
from lsabinet_ros import child_node
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.settings import BagSettings
from lsabinet_ros.bag.writer import make_bag
from lsabinet_ros.child_node import NodeSettings, first_frame_size, start_node


def test_the_command_has_the_parameters(tmp_path):
    file = tmp_path / "node.yaml"
    settings = NodeSettings({"weights": "net", "use_sim_time": True}, file)
    command = settings.command("/front/image_raw/compressed", compressed=True, frame_size=(480, 640))
    assert "~/input/image/compressed:=/front/image_raw/compressed" in command
    assert command[command.index("--params-file") + 1] == str(file)
    expected = {'weights:="net"', "compressed:=true", "use_sim_time:=true", "warm_up_height:=480", "warm_up_width:=640"}
    assert expected <= set(command)


@pytest.mark.parametrize(
    ("text", "height", "width"),
    [
        ("/**:\n  ros__parameters: {region_of_interest: '0,160,640,320'}\n", 320, 640),
        ("segmentation:\n  ros__parameters:\n    region_of_interest: 0,16,128,64\n", 64, 128),
        ("/**:\n  ros__parameters: {region_of_interest: ''}\n", 480, 640),
        ("/**:\n  ros__parameters: {region_of_interest: all}\n", 480, 640),
        ("/**:\n  ros__parameters: {threads: 1}\n", 480, 640),
        ("/**: [1]", 480, 640),
        ("[", 480, 640),
    ],
)
def test_the_engine_is_built_for_the_region_of_interest(tmp_path, text, height, width):
    file = tmp_path / "node.yaml"
    file.write_text(text)
    command = NodeSettings({}, file).command("/image", compressed=False, frame_size=(480, 640))
    assert {f"warm_up_height:={height}", f"warm_up_width:={width}"} <= set(command)


class Recorded(NodeSettings):
    """Starts a program that notes its arguments, instead of the node."""

    program = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(sys.argv[2:]) + '\\n')"

    def command(self, image_topic, compressed, frame_size=None):
        words = super().command(image_topic, compressed, frame_size)
        return [sys.executable, "-c", self.program, image_topic, *words[words.index("--ros-args") :]]


def started(settings, folder, frame_size):
    """Start the program and return the arguments of each of its processes, in their order."""
    notes = folder / "notes"
    node = start_node(settings, str(notes), False, folder, frame_size)
    deadline = time.monotonic() + 30
    while not node.ended():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    node.check(may_end=[0])
    return [json.loads(line) for line in notes.read_text().splitlines()]


def test_the_engine_is_built_for_the_frames_before_the_node_starts(tmp_path):
    built, node = started(Recorded({"weights": "net"}), tmp_path, (480, 640))
    assert built == [*node, "-p", "build_only:=true"]
    assert {"warm_up_height:=480", "warm_up_width:=640"} <= set(node)


@pytest.mark.parametrize(("backend", "frame_size"), [("torch", (480, 640)), ("auto", None)])
def test_nothing_is_built_for_pytorch_or_an_unknown_size(tmp_path, backend, frame_size):
    (node,) = started(Recorded({"backend": backend}), tmp_path, frame_size)
    assert "build_only:=true" not in node


class Endless(Recorded):
    program = "import sys, time; time.sleep(600 * ('build_only:=true' in sys.argv)); open(sys.argv[1], 'a').write('[]')"


def test_an_endless_build_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(child_node, "BUILD_S", 0.2)
    assert started(Endless(), tmp_path, (480, 640)) == [[]]


@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_the_size_of_the_frames_of_a_bag(tmp_path, compression):
    frames = [Sample(np.zeros((48, 64, 3), np.uint8), None, "0")]
    path = tmp_path / "drive.mcap"
    make_bag(frames, path, rate=Fraction(1), start_ns=1, settings=BagSettings(compression=compression))
    with open_bag(path) as bag:
        (topic,) = bag.topics
        assert first_frame_size(bag, topic) == (48, 64)
