"""``lsabinet bag play`` as a process of its own over DDS, with a subscriber in the test's process."""

import itertools
import json
import signal
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
import rclpy
from bag_cases import START_NS, samples, start_cli, write
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from shared_memory import remove_abandoned, segments_of

from lsabinet_ros import transport
from lsabinet_ros.bag import player as player_module
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.restamp import Restamper

IMAGE_TOPIC, LABEL_TOPIC = "/camera/image_raw", "/camera/labels"
FRAMES, RATE_HZ = 24, 15
DEADLINE_S = 60.0


class Listener:
    """Subscribes like the node (best effort) and keeps (topic, message, time of arrival)."""

    def __init__(self, *topics, message_type=None):
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from rclpy.signals import SignalHandlerOptions
        from sensor_msgs.msg import Image

        transport.prepare()
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("listener", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.received = []
        profile = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
        for topic in topics:
            self._node.create_subscription(message_type or Image, topic, self._keeper(topic), profile)

    def _keeper(self, topic):
        return lambda message: self.received.append((topic, message, time.monotonic()))

    def spin_until(self, condition):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"timed out with {len(self.received)} messages"
            self._executor.spin_once(timeout_sec=0.1)

    def spin_through(self, process):
        """Spin until the process has ended; returns its output."""
        self.spin_until(lambda: process.poll() is not None)
        for _ in range(20):
            self._executor.spin_once(timeout_sec=0.01)
        return process.communicate()

    def on(self, topic):
        return [message for name, message, _ in self.received if name == topic]

    def close(self):
        self._executor.shutdown()
        self._node.destroy_node()  # otherwise, the next test in the same domain discovers it
        rclpy.try_shutdown(context=self._context)


@pytest.fixture
def listen(ros_domain):
    listeners = []

    def start(*topics, **options):
        listeners.append(Listener(*topics, **options))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def play(ros_domain):
    processes = []

    def start(*argv):
        processes.append(start_cli("play", *argv))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def frames():
    return samples(FRAMES)


@pytest.fixture(scope="module")
def drive(tmp_path_factory, frames):
    return write(tmp_path_factory.mktemp("play") / "drive.mcap", frames, rate=Fraction(RATE_HZ))


def stamp_ns(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_all_frames_arrive_in_order_and_in_time(tmp_path, listen, play, drive, frames):
    listener = listen(IMAGE_TOPIC, LABEL_TOPIC)
    process = play(drive, "--wait", 30, "--json", tmp_path / "sent.json")
    output, errors = listener.spin_through(process)
    assert process.returncode == 0, errors
    report = json.loads((tmp_path / "sent.json").read_text())
    assert f"{FRAMES} frames sent" in output
    assert report["sent"] == {IMAGE_TOPIC: FRAMES, LABEL_TOPIC: FRAMES}
    assert report["frames_sent"] == FRAMES
    assert report["skipped"] == 0
    assert report["interrupted"] is False
    assert report["acknowledged"] is True

    images, labels = listener.on(IMAGE_TOPIC), listener.on(LABEL_TOPIC)
    expected = [START_NS + index * 10**9 // RATE_HZ for index in range(FRAMES)]
    assert [stamp_ns(message) for message in images] == expected
    assert [stamp_ns(message) for message in labels] == expected
    for message, label, frame in zip(images, labels, frames, strict=True):
        assert np.array_equal(np.frombuffer(message.data, np.uint8).reshape(frame.image.shape), frame.image)
        assert np.array_equal(np.frombuffer(label.data, np.uint8).reshape(frame.label.shape), frame.label)

    nominal_s = (FRAMES - 1) / RATE_HZ
    # Never ahead of time by more than the first frame was late; a busy machine may be behind.
    assert report["lateness_ms"]["p50"] >= 0
    assert nominal_s - report["lateness_ms"]["max"] / 1e3 <= report["duration_s"] <= nominal_s + 2
    assert report["rate_hz"] == pytest.approx((FRAMES - 1) / report["duration_s"])


def test_speed_remap_and_chosen_topics(tmp_path, listen, play, drive):
    listener = listen("/front/image_raw", LABEL_TOPIC)
    process = play(
        drive,
        "--rate",
        4,
        "--remap",
        f"{IMAGE_TOPIC}:=/front/image_raw",
        "--topics",
        IMAGE_TOPIC,
        "--wait",
        30,
        "--json",
        tmp_path / "sent.json",
    )
    _, errors = listener.spin_through(process)
    assert process.returncode == 0, errors
    assert len(listener.on("/front/image_raw")) == FRAMES
    assert not listener.on(LABEL_TOPIC)
    report = json.loads((tmp_path / "sent.json").read_text())
    assert report["sent"] == {"/front/image_raw": FRAMES}
    nominal_s = (FRAMES - 1) / RATE_HZ / 4
    assert report["duration_s"] >= nominal_s - report["lateness_ms"]["max"] / 1e3


def test_restamped_labels_still_match_their_frames(listen, play, drive):
    listener = listen(IMAGE_TOPIC, LABEL_TOPIC)
    before_ns = time.time_ns()
    process = play(drive, "--restamp", "--rate", 4, "--wait", 30)
    _, errors = listener.spin_through(process)
    assert process.returncode == 0, errors
    stamps = [stamp_ns(message) for message in listener.on(IMAGE_TOPIC)]
    assert len(stamps) == FRAMES
    assert stamps == sorted(set(stamps))
    assert before_ns < stamps[0]
    assert stamps[-1] < time.time_ns()
    assert [stamp_ns(message) for message in listener.on(LABEL_TOPIC)] == stamps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_loop_ends_cleanly_on_a_signal(tmp_path, listen, play, drive, number):
    listener = listen(IMAGE_TOPIC)
    process = play(drive, "--loop", "--rate", 8, "--wait", 30, "--json", tmp_path / "sent.json")
    listener.spin_until(lambda: len(listener.received) > FRAMES + 3)
    process.send_signal(number)
    output, errors = listener.spin_through(process)
    assert process.returncode == 0
    assert "interrupted" in output
    assert "Traceback" not in errors
    report = json.loads((tmp_path / "sent.json").read_text())
    assert report["interrupted"] is True
    assert report["loops"] >= 2
    stamps = [stamp_ns(message) for message in listener.on(IMAGE_TOPIC)]
    assert stamps[FRAMES] == stamps[0]
    assert len(stamps) == report["frames_sent"]


def test_a_killed_player_harms_no_subscriber(listen, play, drive):
    listener = listen(IMAGE_TOPIC)
    process = play(drive, "--loop", "--wait", 30)
    listener.spin_until(lambda: len(listener.received) >= 3)
    segments = segments_of(process.pid)
    process.kill()
    process.wait(10)
    remove_abandoned(segments)
    listener.received.clear()
    again = play(drive, "--rate", 4, "--wait", 30)
    _, errors = listener.spin_through(again)
    assert again.returncode == 0, errors
    expected = [START_NS + index * 10**9 // RATE_HZ for index in range(FRAMES)]
    assert [stamp_ns(message) for message in listener.on(IMAGE_TOPIC)][-FRAMES:] == expected


def test_clock_is_the_bags_time(listen, play, drive):
    from rosgraph_msgs.msg import Clock

    listener = listen("/clock", message_type=Clock)
    images = listen(IMAGE_TOPIC)
    # In a loop, because the player waits for readers of the images only: the clock's may be found seconds later.
    process = play(drive, "--clock", "--wait", 30, "--loop")
    listener.spin_until(lambda: len(listener.on("/clock")) >= 2 * FRAMES)
    process.terminate()
    listener.spin_through(process)
    assert process.returncode == 0
    times = [message.clock.sec * 10**9 + message.clock.nanosec for message in listener.on("/clock")]
    assert min(times) >= START_NS
    assert max(times) <= START_NS + (FRAMES - 1) * 10**9 // RATE_HZ + 10**6
    steps = [after - before for before, after in itertools.pairwise(times)]
    # The clock advances, or jumps back to the start of the bag.
    assert all(step >= 0 or after - START_NS < 10**8 for step, after in zip(steps, times[1:]))
    assert sum(step > 0 for step in steps) >= FRAMES
    images.spin_until(lambda: len(images.received) > 0)


def test_a_missing_subscriber_is_an_error(play, drive):
    process = play(drive, "--wait", 0.5)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    last_line = errors.strip().splitlines()[-1]
    assert last_line.startswith("lsabinet: error: ")
    assert all(word in last_line for word in ("/camera/image_raw", "0.5 s", "--wait 0"))
    assert "Traceback" not in errors


def test_not_waiting_needs_no_subscriber(tmp_path, play, drive):
    process = play(drive, "--wait", 0, "--rate", 8, "--json", tmp_path / "sent.json")
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert json.loads((tmp_path / "sent.json").read_text())["frames_sent"] == FRAMES


def test_corrupt_messages_and_unknown_types_are_skipped(tmp_path, listen, play, frames):
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg("int32 value", "absent_msgs/msg/Thing"))
    whole = write(tmp_path / "whole.mcap", frames[:6], rate=Fraction(30))
    with open_bag(whole) as bag:
        recorded = list(bag.messages([IMAGE_TOPIC]))
    with Rosbag2Writer(tmp_path / "mixed", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        image = writer.add_connection(IMAGE_TOPIC, "sensor_msgs/msg/Image", typestore=types)
        thing = writer.add_connection("/thing", "absent_msgs/msg/Thing", typestore=types)
        writer.write(thing, START_NS, b"\x00\x01\x00\x00\x01\x00\x00\x00")
        for index, message in enumerate(recorded):
            data = message.data[:1000] if index == 3 else message.data
            writer.write(image, message.stamp_ns, data)
    listener = listen(IMAGE_TOPIC)
    process = play(tmp_path / "mixed", "--wait", 30, "--json", tmp_path / "sent.json")
    _, errors = listener.spin_through(process)
    assert process.returncode == 0, errors
    report = json.loads((tmp_path / "sent.json").read_text())
    assert (report["frames_sent"], report["skipped"], report["ignored_topics"]) == (5, 1, ["/thing"])
    assert "corrupt" in errors
    assert "absent_msgs/msg/Thing" in errors
    assert len(listener.received) == 5


def test_invalid_options(drive, error_of):
    with open_bag(drive) as bag:
        assert "/other" in error_of(player_module.BagPlayer, bag, topics=["/other"])
        assert "--restamp" in error_of(player_module.BagPlayer, bag, restamp=True, clock=True)
        assert "speed" in error_of(player_module.BagPlayer, bag, speed=0)


def test_without_rclpy_the_error_names_what_to_install(drive, error_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with open_bag(drive) as bag:
        message = error_of(player_module.BagPlayer, bag)
    assert "rclpy" in message
    assert "pip install 'lsabinet_ros[ros]'" in message


def test_restamper_only_changes_the_stamp(drive):
    types = get_typestore(Stores.ROS2_JAZZY)
    now = iter([5 * 10**9 + 7, 6 * 10**9 + 8])
    restamper = Restamper(lambda: next(now))
    with open_bag(drive) as bag:
        messages = list(bag.messages())[:4]  # image and label of two frames
    stamps = []
    for message in messages:
        new = types.deserialize_cdr(restamper.restamp(message.data), message.type)
        stamps.append(stamp_ns(new))
        old = types.deserialize_cdr(message.data, message.type)
        assert np.array_equal(new.data, old.data)
        assert new.header.frame_id == old.header.frame_id
    assert stamps == [5 * 10**9 + 7] * 2 + [6 * 10**9 + 8] * 2
    big_endian = bytes([0, 0, 0, 0]) + (3).to_bytes(4, "big") + (4).to_bytes(4, "big") + b"rest"
    assert Restamper(lambda: 9 * 10**9 + 1).restamp(big_endian) == (
        bytes([0, 0, 0, 0]) + (9).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"rest"
    )


def test_only_a_part_is_played(tmp_path, listen, play, drive):
    listener = listen(IMAGE_TOPIC)
    begin, length = 0.4, 0.5
    options = ("--start-offset", begin, "--duration", length, "--topics", IMAGE_TOPIC, "--json", tmp_path / "sent.json")
    listener.spin_through(play(drive, "--wait", 30, *options))
    expected = [
        START_NS + i * 10**9 // RATE_HZ for i in range(FRAMES) if begin <= round(i / RATE_HZ, 6) <= begin + length
    ]
    assert json.loads((tmp_path / "sent.json").read_text())["frames_sent"] == len(expected)
    assert set(map(stamp_ns, listener.on(IMAGE_TOPIC))) <= set(expected)


def test_gaps_of_years_are_not_waited_for(tmp_path, play):
    types = get_typestore(Stores.ROS2_JAZZY)
    string = types.types["std_msgs/msg/String"]
    path = tmp_path / "bag"
    with Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/chatter", "std_msgs/msg/String", typestore=types)
        for stamp in (0, START_NS, START_NS + 10**8, START_NS + 10**8 + 2 * 10**9):
            writer.write(connection, stamp, bytes(types.serialize_cdr(string("hello"), "std_msgs/msg/String")))
    process = play(path, "--wait", 0, "--json", tmp_path / "sent.json")
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    report = json.loads((tmp_path / "sent.json").read_text())
    assert report["sent"] == {"/chatter": 4}
    assert report["skipped_gaps"] == 1
    assert 2.0 <= report["duration_s"] < 20
    assert "skipped a gap" in errors


def test_a_long_gap_is_reported_and_kept(caplog):
    timeline = player_module._Timeline(speed=1.0)
    timeline.begin()
    first = timeline.due(START_NS)
    assert timeline.due(START_NS + 30 * 10**9) - first == pytest.approx(30)
    assert "30.0 s" in caplog.text
    assert timeline.skipped_gaps == 0
    # A loop goes on after the last interval.
    timeline.begin()
    assert timeline.due(START_NS) - first == pytest.approx(60)


def test_an_offset_behind_the_end(drive, error_of):
    with open_bag(drive) as bag:
        assert "--start-offset" in error_of(player_module.BagPlayer, bag, start_offset_s=99.0)
