"""``lsabinet bag evaluate`` counts exactly what a direct run over the same frames counts."""

import json
import shutil

import cv2
import numpy as np
import pytest
from bag_cases import SIZE, run_cli, samples, stamp_of, write
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID
from lsabinet_ros.bag.evaluation import evaluate_bag
from lsabinet_ros.bag.reader import open_bag

TYPES = get_typestore(Stores.ROS2_JAZZY)


class Listed:
    """The samples as a data set, for the core's evaluation."""

    name, split, label_set = "listed", "val", CAMVID

    def __init__(self, found):
        self._samples = found

    def __len__(self):
        return len(self._samples)

    def sample(self, index):
        return self._samples[index]


@pytest.fixture(scope="module")
def segmenter(weights):
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch") as found:
        yield found


def expected_matrix(segmenter, frames):
    """Counted pixel by pixel with numpy alone."""
    matrix = np.zeros((11, 11), dtype=np.int64)
    for frame in frames:
        if frame.label is not None:
            mask = segmenter.segment(frame.image).mask
            known = frame.label != 255
            np.add.at(matrix, (frame.label[known], mask[known]), 1)
    return matrix


def image_message(array, stamp_ns, encoding):
    header = TYPES.types["std_msgs/msg/Header"](
        TYPES.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), "camera"
    )
    height, width = array.shape[:2]
    data = np.ascontiguousarray(array).reshape(-1)
    message = TYPES.types["sensor_msgs/msg/Image"](header, height, width, encoding, 0, data.size // height, data)
    return bytes(TYPES.serialize_cdr(message, "sensor_msgs/msg/Image"))


def write_messages(path, messages):
    """A rosbag2 of (topic, bag time, CDR image) as given."""
    with Rosbag2Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for topic, stamp_ns, data in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=TYPES)
            writer.write(connections[topic], stamp_ns, data)
    return path


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive"])
def test_same_confusion_matrix_as_a_direct_run(tmp_path, segmenter, name):
    frames = samples(6, labelled=lambda index: index != 2)
    with open_bag(write(tmp_path / name, frames)) as bag:
        report = evaluate_bag(segmenter, bag)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames))
    direct = evaluate(segmenter, Listed(frames))
    assert np.array_equal(report.confusion.matrix, direct.confusion.matrix)
    assert (report.miou, report.confusion.miou_paper_rule) == (direct.miou, direct.confusion.miou_paper_rule)
    assert (report.details["frames"], report.details["labelled_frames"], report.details["skipped"]) == (6, 5, 0)
    assert report.latency_ms["total"]["count"] == 6


def test_png_bag_gives_the_same(tmp_path, segmenter):
    frames = samples(3)
    with open_bag(write(tmp_path / "drive.mcap", frames, compression="png")) as bag:
        report = evaluate_bag(segmenter, bag)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames))


@pytest.mark.parametrize("order", ["labels first", "images first"])
def test_labels_are_matched_by_header_stamp_not_by_order(tmp_path, segmenter, order):
    frames = samples(4)
    images = [("/cam/image", 10**9 + i, image_message(f.image, stamp_of(i), "bgr8")) for i, f in enumerate(frames)]
    # Labels in reverse, and one for a frame that the bag does not have
    labels = [("/cam/labels", 0, image_message(frames[i].label, stamp_of(i), "mono8")) for i in (3, 2, 1, 0)]
    labels.append(("/cam/labels", 0, image_message(frames[0].label, stamp_of(99), "mono8")))
    offset = 0 if order == "labels first" else 2 * 10**9
    labels = [(topic, offset + i, data) for i, (topic, _, data) in enumerate(labels)]
    path = write_messages(tmp_path / "bag", sorted(images + labels, key=lambda message: message[1]))
    with open_bag(path) as bag:
        report = evaluate_bag(segmenter, bag)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames))
    assert report.details["labelled_frames"] == 4


def test_a_bad_message_is_skipped_and_counted(tmp_path, segmenter):
    frames = samples(3)
    good = [("/image", stamp_of(i), image_message(f.image, stamp_of(i), "bgr8")) for i, f in enumerate(frames)]
    bad = [
        ("/image", stamp_of(3), good[0][2][:500]),
        ("/image", stamp_of(4), image_message(np.zeros((4, 4, 2), np.uint8), stamp_of(4), "8UC2")),
    ]
    skipped = []
    with open_bag(write_messages(tmp_path / "bag", [good[0], *bad, *good[1:]])) as bag:
        report = evaluate_bag(segmenter, bag, on_skip=skipped.append)
    assert (report.details["frames"], report.details["skipped"]) == (3, 2)
    assert "corrupt" in skipped[0] and "8UC2" in skipped[1]


def test_command_writes_the_report(tmp_path, weights, segmenter, capsys):
    frames = samples(3)
    path = write(tmp_path / "drive.mcap", frames)
    out = tmp_path / "out"
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", out, "--overlays")
    assert run_cli("evaluate", path, *options) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["confusion_matrix"] == expected_matrix(segmenter, frames).tolist()
    assert report["miou"] == pytest.approx(evaluate(segmenter, Listed(frames)).miou)
    assert set(report["per_class_iou"]) == set(CAMVID.names)
    assert report["pixel_accuracy"] is not None and report["miou_paper_rule"] >= report["miou"]
    for stage in ("preprocess", "inference", "postprocess", "total"):
        assert 0 <= report["latency_ms"][stage]["p50"] <= report["latency_ms"][stage]["p99"]
    assert report["bag"] == str(path) and report["weights"] == str(weights) and report["truncated"] is False
    assert "mIoU" in capsys.readouterr().out
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    assert video.read()[1].shape == (*SIZE, 3)
    video.release()


def test_without_labels_miou_is_null(tmp_path, weights, capsys):
    path = write(tmp_path / "drive.mcap", samples(2, labelled=lambda index: False))
    assert run_cli("evaluate", path, "--weights", weights, "--backend", "torch", "--out", tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["miou"] is None and report["labelled_frames"] == 0 and report["frames"] == 2
    assert report["latency_ms"]["total"]["p50"] > 0


def test_limit_counts_frames(tmp_path, segmenter):
    frames = samples(5)
    with open_bag(write(tmp_path / "drive.mcap", frames)) as bag:
        report = evaluate_bag(segmenter, bag, limit=2)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames[:2]))
    assert (report.details["frames"], report.details["labelled_frames"]) == (2, 2)


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_the_readable_part_of_a_cut_bag_is_evaluated(tmp_path, weights, segmenter, suffix, caplog):
    frames = samples(60)
    whole = write(tmp_path / f"whole{suffix}", frames)
    path = shutil.copy(whole, tmp_path / f"cut{suffix}")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert run_cli("evaluate", path, "--weights", weights, "--backend", "torch", "--out", tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["truncated"] is True and "cut off" in report["lost"] and "cut off" in caplog.text
    assert 10 <= report["frames"] <= 31
    matched = frames[: report["labelled_frames"]]
    assert report["confusion_matrix"] == expected_matrix(segmenter, matched).tolist()


def test_topics_that_cannot_be_chosen(tmp_path, segmenter, error_of):
    frames = samples(1)
    image = image_message(frames[0].image, 5, "bgr8")
    with open_bag(write_messages(tmp_path / "two", [("/left/image", 0, image), ("/right/image", 1, image)])) as bag:
        message = error_of(evaluate_bag, segmenter, bag)
        assert "/left/image, /right/image" in message and "--image-topic" in message
        assert evaluate_bag(segmenter, bag, image_topic="/left/image").details["frames"] == 1
        assert "no topic /front" in error_of(evaluate_bag, segmenter, bag, image_topic="/front")
    with open_bag(write_messages(tmp_path / "none", [("/labels", 0, image)])) as bag:
        assert "no image topic" in error_of(evaluate_bag, segmenter, bag)


def test_labels_that_fit_no_frame(tmp_path, segmenter, error_of):
    (frame,) = samples(1)
    image = ("/image", 0, image_message(frame.image, 5, "bgr8"))
    label = image_message(frame.label, 6, "mono8")
    with open_bag(write_messages(tmp_path / "a", [image, ("/labels", 1, label)])) as bag:
        assert "header stamp" in error_of(evaluate_bag, segmenter, bag)
    with open_bag(write_messages(tmp_path / "b", [image, ("/labels", 1, label), ("/labels", 2, label)])) as bag:
        assert "must be unique" in error_of(evaluate_bag, segmenter, bag)
    wide = image_message(np.zeros((96, 100), np.uint8), 5, "mono8")
    with open_bag(write_messages(tmp_path / "c", [image, ("/labels", 1, wide)])) as bag:
        assert "(96, 128)" in error_of(evaluate_bag, segmenter, bag)
    colour = image_message(frame.image, 5, "bgr8")
    with open_bag(write_messages(tmp_path / "d", [image, ("/labels", 1, colour)])) as bag:
        assert evaluate_bag(segmenter, bag).details["skipped"] == 1
