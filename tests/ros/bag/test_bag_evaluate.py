"""``lsabinet bag evaluate`` yields the same counts as a direct evaluation of the same frames."""

import io
import json
import shutil

import cv2
import numpy as np
import pytest
from bag_cases import SIZE, run_cli, samples, stamp_of, write
from PIL import Image
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer
from rosbags.typesys import Stores, get_typestore

from lsabinet_core.errors import FrameError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.evaluation.temporal import TemporalConsistency
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID
from lsabinet_ros.bag.evaluation import evaluate_bags
from lsabinet_ros.bag.gate import value_of
from lsabinet_ros.bag.labels import FolderLabels, TopicLabels, label_array
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.report import SCHEMA_VERSION, TIMING_FIELDS
from lsabinet_ros.bag.samples import FrameSource
from lsabinet_ros.bag.storage import COMPRESSED_IMAGE
from lsabinet_ros.bag.topics import find_image_topic, find_label_topic

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


def source_of(bag, image_topic=None, label_topic=None, folder=None, **options):
    """The images of a bag with their labels, as the command chooses them."""
    images = find_image_topic(bag, image_topic)
    topic = find_label_topic(bag, label_topic, images)
    labels = FolderLabels(folder) if folder else TopicLabels(bag, topic) if topic else None
    return FrameSource(bag, images, labels, CAMVID, **options)


def evaluate_bag(segmenter, bag, **options):
    """Evaluate one topic of one bag; returns the report, with the source's counts among its details."""
    source = source_of(bag, **options)
    report = evaluate_bags(segmenter, [source]).report
    report.details.update(source.summary())
    return report


def expected_matrix(segmenter, frames):
    """The confusion matrix, counted pixel by pixel with NumPy."""
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
    """Write a rosbag2 of the given messages: (topic, bag time, image as CDR)."""
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
    assert (report.details["frames"], report.images, report.details["skipped_frames"]) == (6, 5, 0)
    assert report.latency_ms["total"]["count"] == 6


def test_png_bag_yields_the_same(tmp_path, segmenter):
    frames = samples(3)
    with open_bag(write(tmp_path / "drive.mcap", frames, compression="png")) as bag:
        report = evaluate_bag(segmenter, bag)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames))


def compressed_message(content, stamp_ns, kind):
    header = TYPES.types["std_msgs/msg/Header"](
        TYPES.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, 10**9)), "camera"
    )
    data = np.frombuffer(content, np.uint8)
    return TYPES.types["sensor_msgs/msg/CompressedImage"](header, kind, data)


def palette_png(label):
    stream = io.BytesIO()
    image = Image.frombytes("P", label.shape[::-1], label.tobytes())
    image.putpalette([value for value in range(256) for _ in range(3)])
    image.save(stream, "PNG", transparency=0)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "encode"),
    [
        ("mono8; png compressed ", lambda label: cv2.imencode(".png", label)[1].tobytes()),
        ("16UC1; png compressed ", lambda label: cv2.imencode(".png", label.astype(np.uint16))[1].tobytes()),
        ("png", palette_png),
    ],
)
def test_compressed_labels_are_read_as_they_are_stored(kind, encode):
    for frame in samples(2):
        label = label_array(compressed_message(encode(frame.label), 0, kind), COMPRESSED_IMAGE)
        assert label.dtype == np.uint8
        np.testing.assert_array_equal(label, frame.label)


@pytest.mark.parametrize(
    ("kind", "encode", "words"),
    [
        ("mono8; jpeg compressed ", lambda label: cv2.imencode(".jpg", label)[1].tobytes(), "got JPEG"),
        ("png", lambda label: cv2.imencode(".jpg", label)[1].tobytes(), "got JPEG"),
        ("16UC1; png compressed ", lambda label: cv2.imencode(".png", label * np.uint16(256))[1].tobytes(), "value 65"),
        ("bgr8; png compressed ", lambda label: cv2.imencode(".png", cv2.merge([label] * 3))[1].tobytes(), "got RGB"),
        ("png", lambda label: cv2.imencode(".png", label)[1].tobytes()[:-40], "truncated PNG"),
    ],
)
def test_compressed_images_that_are_not_labels(kind, encode, words):
    (frame,) = samples(1)
    with pytest.raises(FrameError, match=f"label of format .*{words}"):
        label_array(compressed_message(encode(frame.label), 0, kind), COMPRESSED_IMAGE)


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
    assert report.images == 4
    labels = report.details["labels"]
    assert (labels["total"], labels["used"], labels["without_frame"]) == (5, 4, 1)
    assert labels["without_frame_ns"] == [stamp_of(99)]


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
    assert (report.details["frames"], report.details["skipped_frames"]) == (3, 2)
    assert "corrupt" in skipped[0]
    assert "8UC2" in skipped[1]


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
    assert report["pixel_accuracy"] is not None
    assert report["miou_paper_rule"] >= report["miou"]
    for stage in ("preprocess", "inference", "postprocess", "total"):
        assert 0 <= report["latency_ms"][stage]["p50"] <= report["latency_ms"][stage]["p99"]
    assert report["bags"] == [str(path)]
    assert report["weights"] == str(weights)
    assert report["lost"] == []
    assert "mIoU" in capsys.readouterr().out
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    assert video.read()[1].shape == (*SIZE, 3)
    video.release()


def test_without_labels_miou_is_null(tmp_path, weights, capsys):
    path = write(tmp_path / "drive.mcap", samples(2, labelled=lambda index: False))
    assert run_cli("evaluate", path, "--weights", weights, "--backend", "torch", "--out", tmp_path) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["miou"] is None
    assert report["labelled_frames"] == 0
    assert report["frames"] == 2
    assert report["latency_ms"]["total"]["p50"] > 0


def test_limit_counts_frames(tmp_path, segmenter):
    frames = samples(5)
    with open_bag(write(tmp_path / "drive.mcap", frames)) as bag:
        report = evaluate_bag(segmenter, bag, limit=2)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames[:2]))
    assert (report.details["frames"], report.images) == (2, 2)


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_the_readable_part_of_a_truncated_bag_is_evaluated(tmp_path, weights, segmenter, suffix, caplog):
    frames = samples(60)
    whole = write(tmp_path / f"whole{suffix}", frames)
    path = shutil.copy(whole, tmp_path / f"cut{suffix}")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert run_cli("evaluate", path, "--weights", weights, "--backend", "torch", "--out", tmp_path) == 3
    report = json.loads((tmp_path / "report.json").read_text())
    (loss,) = report["lost"]
    assert loss in caplog.text
    assert 10 <= report["frames"] <= 31
    matched = frames[: report["labelled_frames"]]
    assert report["confusion_matrix"] == expected_matrix(segmenter, matched).tolist()


def test_ambiguous_and_missing_topics(tmp_path, segmenter, error_of):
    frames = samples(1)
    image = image_message(frames[0].image, 5, "bgr8")
    with open_bag(write_messages(tmp_path / "two", [("/left/image", 0, image), ("/right/image", 1, image)])) as bag:
        message = error_of(evaluate_bag, segmenter, bag)
        assert all(word in message for word in ("/left/image", "/right/image", "--image-topic"))
        assert evaluate_bag(segmenter, bag, image_topic="/left/image").details["frames"] == 1
        assert "/front" in error_of(evaluate_bag, segmenter, bag, image_topic="/front")
    with open_bag(write_messages(tmp_path / "none", [("/labels", 0, image)])) as bag:
        assert "/labels (sensor_msgs/msg/Image)" in error_of(evaluate_bag, segmenter, bag)


def test_labels_that_match_no_frame(tmp_path, segmenter, error_of):
    (frame,) = samples(1)
    image = ("/image", 0, image_message(frame.image, 5, "bgr8"))
    label = image_message(frame.label, 6, "mono8")
    with open_bag(write_messages(tmp_path / "a", [image, ("/labels", 1, label)])) as bag:
        assert "header stamp" in error_of(evaluate_bag, segmenter, bag)


def test_a_label_that_does_not_fit_is_skipped_and_the_rest_counts(tmp_path, segmenter):
    frames = samples(4)
    images = [("/image", stamp_of(i), image_message(f.image, stamp_of(i), "bgr8")) for i, f in enumerate(frames)]
    labels = [("/labels", stamp_of(i), image_message(f.label, stamp_of(i), "mono8")) for i, f in enumerate(frames)]
    labels[1] = ("/labels", stamp_of(1), image_message(np.zeros((96, 100), np.uint8), stamp_of(1), "mono8"))
    labels[2] = ("/labels", stamp_of(2), image_message(np.full(SIZE, 40, np.uint8), stamp_of(2), "mono8"))
    skipped = []
    with open_bag(write_messages(tmp_path / "bag", images + labels)) as bag:
        report = evaluate_bag(segmenter, bag, on_skip=skipped.append)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, [frames[0], frames[3]]))
    assert (report.details["labels"]["used"], report.details["labels"]["skipped"]) == (2, 2)
    assert "96x100" in skipped[0]
    assert "got 40" in skipped[1]
    assert report.details["frames"] == 4


def test_unusable_labels_end_with_an_error_after_the_report(tmp_path, weights, error_of):
    (frame,) = samples(1)
    image = ("/image", 0, image_message(frame.image, 5, "bgr8"))
    path = write_messages(tmp_path / "bag", [image, ("/labels", 1, image_message(frame.image, 5, "bgr8"))])
    options = ("--weights", weights, "--backend", "torch", "--out", tmp_path / "out")
    assert "'bgr8'" in error_of(run_cli, "evaluate", path, *options)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["frames"], report["labelled_frames"]) == (1, 0)
    assert report["sources"][0]["labels"]["skipped"] == 1


def test_slop_pairs_labels_with_the_nearest_frames(tmp_path, segmenter, error_of):
    frames = samples(3)
    images = [("/image", stamp_of(i), image_message(f.image, stamp_of(i), "bgr8")) for i, f in enumerate(frames)]
    labels = [
        ("/labels", stamp_of(i), image_message(f.label, stamp_of(i) // 1000 * 1000, "mono8"))
        for i, f in enumerate(frames)
    ]
    with open_bag(write_messages(tmp_path / "bag", images + labels)) as bag:
        assert "--slop" in error_of(evaluate_bag, segmenter, bag)
        report = evaluate_bag(segmenter, bag, slop_ns=1000)
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, frames))
    assert report.details["labels"]["largest_offset_ns"] == max(stamp_of(i) % 1000 for i in range(3))


def test_labels_from_a_folder(tmp_path, segmenter, error_of):
    frames = samples(3)
    folder = tmp_path / "labels"
    folder.mkdir()
    cv2.imwrite(str(folder / f"{stamp_of(0)}.png"), frames[0].label)
    cv2.imwrite(str(folder / f"{stamp_of(2) // 10**9}.{stamp_of(2) % 10**9:09d}.png"), frames[2].label)
    with open_bag(write(tmp_path / "drive.mcap", samples(3, labelled=lambda index: False))) as bag:
        report = evaluate_bag(segmenter, bag, folder=folder)
        (tmp_path / "other").mkdir()
        cv2.imwrite(str(tmp_path / "other" / "street.png"), frames[0].label)
        assert "1700000000123456789.png" in error_of(FolderLabels, tmp_path / "other")
    assert np.array_equal(report.confusion.matrix, expected_matrix(segmenter, [frames[0], frames[2]]))


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize(("encoding", "dtype"), [("mono16", "u2"), ("16UC1", "u2"), ("32SC1", "i4")])
def test_raw_labels_of_more_than_8_bits(encoding, dtype, big):
    (frame,) = samples(1)
    stored = frame.label.astype((">" if big else "<") + dtype).view(np.uint8)
    message = TYPES.deserialize_cdr(image_message(stored, 0, encoding), "sensor_msgs/msg/Image")
    message.width, message.is_bigendian = SIZE[1], big
    np.testing.assert_array_equal(label_array(message, "sensor_msgs/msg/Image"), frame.label)
    wrong = message.data.copy()
    wrong[:4] = 9
    message.data = wrong
    with pytest.raises(FrameError, match=r"0\.\.255"):
        label_array(message, "sensor_msgs/msg/Image")


def test_each_camera_has_the_labels_of_its_namespace(tmp_path, weights, segmenter):
    left, right = samples(2), samples(4)[2:]
    messages = []
    for name, frames in (("left", left), ("right", right)):
        for i, frame in enumerate(frames):
            messages.append((f"/{name}/camera/image_raw", stamp_of(i), image_message(frame.image, stamp_of(i), "bgr8")))
            messages.append((f"/{name}/labels", stamp_of(i), image_message(frame.label, stamp_of(i), "mono8")))
    path = write_messages(tmp_path / "bag", sorted(messages, key=lambda message: message[1]))
    again = shutil.copytree(path, tmp_path / "again")
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out")
    topics = ("/left/camera/image_raw", "/right/camera/image_raw")
    # A bag that is named twice counts once.
    assert run_cli("evaluate", path, again, path, *options, "--image-topic", *topics) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    expected = 2 * (expected_matrix(segmenter, left) + expected_matrix(segmenter, right))
    assert report["confusion_matrix"] == expected.tolist()
    assert [source["label_source"] for source in report["sources"]] == ["/left/labels", "/right/labels"] * 2
    assert np.array_equal(np.sum([block["confusion_matrix"] for block in report["blocks"]], axis=0), expected)
    lines = (tmp_path / "out" / "frames.csv").read_text().splitlines()
    assert len(lines) == 9
    assert all(topic in (tmp_path / "out" / "report.md").read_text() for topic in topics)


@pytest.mark.parametrize(
    ("topics", "image", "labels"),
    [
        (["/camera/image_raw", "/camera/labels/compressed"], None, "/camera/labels/compressed"),
        (["/image", "/somewhere/labels"], None, "/somewhere/labels"),
        (["/front/image_raw", "/back/image_raw", "/front/labels"], "/back/image_raw", None),
        (["/front/image_raw", "/back/image_raw", "/front/labels"], "/front/image_raw", "/front/labels"),
        (["/front/image_raw", "/back/image_raw", "/labels"], "/front/image_raw", "/labels"),
    ],
)
def test_which_labels_belong_to_which_images(tmp_path, topics, image, labels):
    cdr = image_message(np.zeros((2, 2), np.uint8), 5, "mono8")
    compressed = bytes(TYPES.serialize_cdr(compressed_message(b"\x00", 5, "png"), COMPRESSED_IMAGE))
    with Rosbag2Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic in topics:
            is_compressed = topic.endswith("compressed")
            kind = COMPRESSED_IMAGE if is_compressed else "sensor_msgs/msg/Image"
            writer.write(writer.add_connection(topic, kind, typestore=TYPES), 1, compressed if is_compressed else cdr)
        writer.add_connection("/empty/image_raw", "sensor_msgs/msg/Image", typestore=TYPES)
    with open_bag(tmp_path / "bag") as bag:
        found = find_image_topic(bag, image)
        assert found == (image or topics[0])
        assert find_label_topic(bag, None, found) == labels


def without_timings(content):
    """The content without the fields that may differ, at any depth."""
    if isinstance(content, list):
        return [without_timings(entry) for entry in content]
    if not isinstance(content, dict):
        return content
    return {key: without_timings(value) for key, value in content.items() if key not in TIMING_FIELDS}


def test_two_runs_agree_except_for_timings(tmp_path, weights):
    path = write(tmp_path / "drive.mcap", samples(3))
    (tmp_path / "spans.yaml").write_text("- {name: all, from: 0, to: 9}\n")
    metrics = ("--boundary", "--calibration", "--against", "precision=fp32", "--spans", tmp_path / "spans.yaml")
    reports = []
    for _ in range(2):
        options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out")
        assert run_cli("evaluate", path, *options, *metrics) == 0
        reports.append(json.loads((tmp_path / "out" / "report.json").read_text()))
    first, second = reports
    assert without_timings(first) == without_timings(second)
    assert first["schema_version"] == SCHEMA_VERSION
    assert without_timings(first)["spans"]["all"]["agreement"]["identical_frames"] == 3
    assert "latency_ms" not in without_timings(first)["against"]
    assert first["boundary_f"]["tolerance_px"] == 3
    assert 0 <= first["calibration"]["ece"] <= 1


def test_metrics_are_those_of_the_evaluation_of_the_same_frames(tmp_path, segmenter):
    frames = samples(3)
    direct = evaluate(segmenter, Listed(frames), boundary_tolerance_px=2, calibration=True)
    with open_bag(write(tmp_path / "drive.mcap", frames)) as bag:
        found = evaluate_bags(segmenter, [source_of(bag)], boundary_tolerance_px=2, calibration=True)
    assert found.report.boundaries.mean == direct.boundaries.mean
    assert found.report.calibration.bins().ece == direct.calibration.bins().ece
    masks = [segmenter.segment(frame.image) for frame in frames]
    assert found.frames[0].flicker is None
    assert found.frames[1].flicker == pytest.approx(np.mean(masks[0].mask != masks[1].mask))
    assert found.frames[2].confidence == pytest.approx(masks[2].confidence.mean() / 255)
    assert found.frames[2].class_share == pytest.approx(np.bincount(masks[2].mask.ravel(), minlength=11) / (96 * 128))


@pytest.mark.parametrize("interval_ns", [0, 3600 * 10**9, 100])
def test_overlays_of_odd_rates(tmp_path, weights, interval_ns):
    messages = [
        ("/image", i * interval_ns, image_message(frame.image, 7 + i * interval_ns, "bgr8"))
        for i, frame in enumerate(samples(3))
    ]
    path = write_messages(tmp_path / "bag", messages)
    options = ("--weights", weights, "--backend", "torch", "--out", tmp_path / "out", "--overlays")
    assert run_cli("evaluate", path, *options) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["frames"] == 3
    video = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    video.release()


def test_temporal_consistency_of_each_topic(tmp_path, weights, segmenter):
    left, right = samples(3), samples(6)[3:]
    messages = [
        (f"/{name}/image", stamp_of(i), image_message(frame.image, stamp_of(i), "bgr8"))
        for name, frames in (("left", left), ("right", right))
        for i, frame in enumerate(frames)
    ]
    path = write_messages(tmp_path / "bag", sorted(messages, key=lambda message: message[1]))
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out", "--temporal")
    assert run_cli("evaluate", path, *options, "--image-topic", "/left/image", "/right/image") == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    total = np.zeros((11, 11), np.int64)
    for frames in (left, right):
        tracker = TemporalConsistency(11)
        for frame in frames:
            tracker.update(frame.image, segmenter.segment(frame.image).mask)
        total += tracker.confusion.matrix
    assert report["temporal_consistency"]["confusion_matrix"] == total.tolist()
    assert value_of(report, "temporal_consistency") == pytest.approx(100 * report["temporal_consistency"]["miou"])
    assert 'id="plot-consistency"' in (tmp_path / "out" / "report.html").read_text()
