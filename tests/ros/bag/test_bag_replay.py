"""``lsabinet bag replay``: the segmentation node, and one that is not ours, on a real graph; its figures by hand."""

import json
import threading
from fractions import Fraction

import numpy as np
import pytest
import rclpy
from bag_cases import SIZE, START_NS, run_cli, samples, stamp_of, start_cli, write
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from lsabinet_core.labels import CAMVID
from lsabinet_ros import transport
from lsabinet_ros.bag import rate_search
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.replay import Pass, Selection
from lsabinet_ros.bag.replay_report import Agreement, as_text, highest_rate_hz, pass_summary

MS = 1_000_000
DEADLINE_S = 240


def finish(process) -> tuple[str, str]:
    try:
        return process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()


PARAMETERS = """
/**:
  ros__parameters:
    region_of_interest: 0,16,128,64
    min_confidence: 0.1
    label_remap: Road=1,Pavement=1,Sky=0,Car=7,*=255
"""


@pytest.fixture(scope="module")
def replayed(module_ros_domain, weights, tmp_path_factory):
    """A slow replay of five frames through our own node, as it is deployed: output, report, folder."""
    folder = tmp_path_factory.mktemp("replay")
    bag = write(folder / "drive.mcap", samples(5), rate=Fraction(2))
    (folder / "node.yaml").write_text(PARAMETERS)
    process = start_cli(
        *("replay", bag, "--out", folder / "out", "--params-file", folder / "node.yaml"),
        *("--weights", weights, "--backend", "torch", "--rate", 0.5),
    )
    output, errors = finish(process)
    assert process.returncode == 0, output + errors
    return output, json.loads((folder / "out" / "replay.json").read_text()), folder


def test_every_frame_of_our_node_is_accounted_for(replayed):
    output, report, _ = replayed
    figures = report["replay"]
    assert figures["frames_published"] == figures["player"]["frames_sent"] == 5
    assert figures["frames_answered"] + len(figures["unanswered_stamps_ns"]) == 5
    assert sum(figures["dropped"].values()) == 5 - figures["frames_answered"]
    assert figures["frames_answered"] >= 1
    assert (figures["duplicate_masks"], figures["masks_of_unknown_frames"]) == (0, 0)
    assert 0 < figures["publish_to_mask_ms"]["p50"] <= figures["publish_to_mask_ms"]["max"]
    assert report["node"]["exit_status"] == 0
    assert report["node"]["backend"] == "torch"
    assert f"{figures['frames_answered']} answered" in output


def test_live_masks_are_the_offline_ones(replayed):
    _, report, _ = replayed
    answered = report["replay"]["frames_answered"]
    assert report["agreement"] == {"frames": answered, "identical": answered, "pixel_agreement": 1.0}


def test_the_outputs_are_a_bag(replayed, weights):
    from lsabinet_core.inference import Segmenter

    _, report, folder = replayed
    with open_bag(folder / "out" / "outputs.mcap") as outputs:
        assert outputs.topics["/segmentation/output/mask"].count == report["replay"]["frames_answered"]
        assert outputs.topics["/segmentation/debug/latency"].type == "diagnostic_msgs/msg/DiagnosticArray"
        message = next(iter(outputs.messages(["/segmentation/output/mask"])))
        mask = outputs.deserialize(message)
    index = [START_NS + i * 500 * MS for i in range(5)].index(message.stamp_ns)
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch") as segmenter:
        result = segmenter.segment(samples(5)[index].image[16:80], confidence=True)
    expected = np.full(SIZE, 255, np.uint8)
    published = {"Road": 1, "Pavement": 1, "Sky": 0, "Car": 7}
    for id, name in enumerate(CAMVID.names):
        expected[16:80][(result.mask == id) & (result.confidence >= 25.5)] = published.get(name, 255)
    assert len(np.unique(expected)) >= 3
    np.testing.assert_array_equal(mask.data.reshape(expected.shape), expected)


class Answerer:
    """A node that is not ours: it leaves out the second frame, answers the third twice, and sends a mask of its own."""

    def __init__(self):
        transport.prepare()
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("answerer", context=self._context)
        self._publisher = self._node.create_publisher(Image, "/other/mask", 10)
        self._node.create_subscription(Image, "/front/image_raw", self._answer, qos_profile_sensor_data)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._seen = 0
        self._thread = threading.Thread(target=self._executor.spin)
        self._thread.start()

    def _answer(self, image):
        height, width = image.height, image.width
        mask = Image(header=image.header, height=height, width=width, encoding="mono8", step=width)
        mask.data = bytes(height * width)
        for _ in range({1: 0, 2: 2}.get(self._seen, 1)):
            self._publisher.publish(mask)
        self._seen += 1
        if self._seen == 4:
            mask.header.stamp.sec += 3600
            self._publisher.publish(mask)

    def close(self):
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


def test_a_node_that_is_not_ours(ros_domain, tmp_path):
    bag = write(tmp_path / "drive.mcap", samples(6), rate=Fraction(4))
    gate = tmp_path / "gate.yaml"
    gate.write_text("answered.min: 83\nduplicate_masks.max: 0\n")
    other = Answerer()
    try:
        process = start_cli(
            *("replay", bag, "--out", tmp_path / "out", "--mask-topic", "/other/mask"),
            *("--remap", "/camera/image_raw:=/front/image_raw", "--gate", gate),
        )
        output, errors = finish(process)
    finally:
        other.close()
    assert process.returncode == 4, output + errors
    report = json.loads((tmp_path / "out" / "replay.json").read_text())
    figures = report["replay"]
    assert (figures["frames_published"], figures["frames_answered"]) == (6, 5)
    assert figures["unanswered_stamps_ns"] == [START_NS + 250 * MS]
    assert (figures["duplicate_masks"], figures["masks_of_unknown_frames"]) == (1, 1)
    assert figures["dropped"] == {}
    assert {verdict["limit"]: verdict["kept"] for verdict in report["gate"]} == {
        "answered.min": True,
        "duplicate_masks.max": False,
    }
    assert "failure" in (tmp_path / "out" / "junit.xml").read_text()
    assert report["agreement"] is None
    with open_bag(tmp_path / "out" / "outputs.mcap") as outputs:
        assert outputs.topics["/other/mask"].count == 7


def made_pass(speed=1.0, answers=(0, 2, 3), counts=None) -> Pass:
    """Five frames, 100 ms apart; frame i is answered after 10 (i + 1) ms."""
    published = {stamp_of(i): i * 100 * MS for i in range(5)}
    answered = {stamp_of(i): published[stamp_of(i)] + 10 * (i + 1) * MS for i in answers}
    return Pass(speed, published, answered, counts=counts or {}, player={"lost": []})


def test_the_figures_of_a_pass_by_hand():
    counts = {"received": 4, "published": 3, "dropped": 1, "replaced": 1, "failed": 0}
    figures = pass_summary(made_pass(counts={f"frames_{name}": count for name, count in counts.items()}))
    assert figures["answered"] == pytest.approx(3 / 5)
    assert figures["unanswered_stamps_ns"] == [stamp_of(1), stamp_of(4)]
    assert figures["dropped"] == {"transport": 1, "replaced": 1, "failed": 0}
    assert figures["publish_to_mask_ms"]["p50"] == 30
    assert figures["publish_to_mask_ms"]["max"] == 40
    assert figures["published_hz"] == pytest.approx(10)
    # The masks arrive at 10, 230 and 340 ms.
    assert figures["masks_hz"] == pytest.approx(2 / 0.33)
    assert figures["mask_jitter_ms"] == pytest.approx(55)
    assert figures["mask_interval_ms"]["p50"] == pytest.approx(165)
    report = {"replay": figures, "agreement": None, "rates": [], "highest_rate_hz": None}
    assert "60.0 %" in as_text(report)


def test_agreement_counts_pixels_and_whole_masks():
    agreement = Agreement()
    first = np.zeros((4, 5), np.uint8)
    agreement.add(first, first)
    other = first.copy()
    other[0, :3] = 1
    agreement.add(first, other)
    agreement.add(np.zeros((2, 5), np.uint8), first)
    assert agreement.to_dict() == {"frames": 3, "identical": 1, "pixel_agreement": pytest.approx(37 / 60)}


class Machine:
    """Stands in for a session whose node keeps up with 7.3 times the bag's rate of 10 Hz."""

    def __init__(self, limit=7.3):
        self.limit, self.speeds = limit, []

    def play(self, bag, speed):
        self.speeds.append(speed)
        result = made_pass(speed, answers=range(5) if speed <= self.limit else (0, 3))
        result.published_ns = {stamp: int(time / speed) for stamp, time in result.published_ns.items()}
        return result


@pytest.mark.parametrize(("limit", "start"), [(7.3, 1.0), (7.3, 32.0), (0.4, 1.0)])
def test_the_highest_rate_is_found_by_bisection(limit, start):
    machine = Machine(limit)
    passes = rate_search.find_rate(machine, None, start)
    found = highest_rate_hz(passes, rate_search.ENOUGH)
    assert 10 * limit / 2 ** (1 / 16) <= found <= 10 * limit * 1.001
    assert len(machine.speeds) < 16


@pytest.mark.parametrize("limit", [0.0, 1e9])
def test_an_endless_search_is_given_up(limit):
    passes = rate_search.find_rate(Machine(limit), None, 1.0)
    assert len(passes) <= 8
    assert (highest_rate_hz(passes, rate_search.ENOUGH) is None) == (limit == 0)


def test_the_command_of_the_player_has_the_selection(tmp_path):
    selection = Selection("/a", ("/tf",), {"/a": "/b"}, start_offset_s=2.0, duration_s=3.0)
    assert selection.published_image_topic == "/b"
    command = selection.player_command(tmp_path / "x.mcap", 2.0, tmp_path)
    assert command[command.index("--topics") + 1 : command.index("--remap")] == ["/a", "/tf"]
    assert command[command.index("--start-offset") + 1] == "2.0"
    assert command[command.index("--duration") + 1] == "3.0"
    assert "--clock" in command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mask-topic", "/m", "--weights", "w"], ["--mask-topic", "--weights"]),
        (["--params-file", "/none.yaml"], ["--params-file", "/none.yaml"]),
        (["--rate", "0"], ["--rate", "0"]),
        (["--rate", "inf"], ["--rate", "1000", "inf"]),
        (["--remap", "x"], ["x"]),
    ],
)
def test_invalid_combinations_of_options(options, words, tmp_path, error_of):
    bag = write(tmp_path / "drive.mcap", samples(1))
    message = error_of(run_cli, "replay", bag, "--out", tmp_path / "out", *options)
    assert [word for word in words if word not in message] == []
    assert not (tmp_path / "out").exists()


def test_a_node_that_cannot_configure_is_named(ros_domain, tmp_path):
    bag = write(tmp_path / "drive.mcap", samples(1))
    process = start_cli("replay", bag, "--out", tmp_path / "out", "--weights", "none.safetensors")
    _, errors = finish(process)
    assert process.returncode == 1
    assert "none.safetensors" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "replay.json").exists()
