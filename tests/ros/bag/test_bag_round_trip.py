"""Bags are read back unchanged by the libraries of the formats and by our own reader."""

import sqlite3
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from bag_cases import RATE, START_NS, run_cli, samples, stamp_of, write
from mcap.reader import make_reader
from PIL import Image
from rosbags.highlevel import AnyReader

from lsabinet_core.data.sample import Sample
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.sources import FileSource
from lsabinet_ros.bag.writer import BagSettings, BagWriter, make_bag

FORMS = [("drive.mcap", None), ("drive.db3", None), ("drive", "mcap"), ("drive", "sqlite3")]


@pytest.mark.parametrize(("name", "storage"), FORMS)
def test_frames_labels_and_stamps_are_exact(tmp_path, name, storage):
    frames = samples(7, labelled=lambda index: index % 3 != 1)
    path = write(tmp_path / name, frames, storage=storage)
    images, labels = [], []
    # rosbags alone, as any other program would read it
    with AnyReader([path]) as reader:
        for connection, stamp_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.frame_id == "camera"
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp_ns
            (labels if connection.topic == "/camera/labels" else images).append((stamp_ns, message))
    assert [stamp for stamp, _ in images] == [stamp_of(index) for index in range(7)]
    for frame, (_, message) in zip(frames, images, strict=True):
        assert (message.height, message.width, message.encoding, message.step) == (96, 128, "bgr8", 384)
        assert np.array_equal(message.data.reshape(96, 128, 3), frame.image)
    labelled = [index for index in range(7) if index % 3 != 1]
    assert [stamp for stamp, _ in labels] == [stamp_of(index) for index in labelled]
    for index, (_, message) in zip(labelled, labels, strict=True):
        assert (message.height, message.width, message.encoding, message.step) == (96, 128, "mono8", 128)
        assert np.array_equal(message.data.reshape(96, 128), frames[index].label)


@pytest.mark.parametrize(("name", "storage"), FORMS)
def test_reader_gives_the_same(tmp_path, name, storage):
    frames = samples(3)
    path = write(tmp_path / name, frames, storage=storage)
    with open_bag(path) as bag:
        assert bag.format == (storage or {".mcap": "mcap", ".db3": "sqlite3"}[path.suffix])
        assert {topic.name: (topic.type, topic.count) for topic in bag.topics.values()} == {
            "/camera/image_raw": ("sensor_msgs/msg/Image", 3),
            "/camera/labels": ("sensor_msgs/msg/Image", 3),
        }
        assert (bag.start_ns, bag.end_ns, bag.losses) == (stamp_of(0), stamp_of(2), [])
        found = list(bag.messages(["/camera/labels"]))
        assert [message.stamp_ns for message in found] == [stamp_of(index) for index in range(3)]
        label = bag.deserialize(found[2]).data.reshape(96, 128)
        assert np.array_equal(label, frames[2].label)
        assert bag.to_cdr(found[0]) == found[0].data


def test_lone_mcap_is_what_ros2_bag_expects(tmp_path):
    path = write(tmp_path / "drive.mcap", samples(2))
    with open(path, "rb") as stream:
        reader = make_reader(stream)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        (metadata,) = [record for record in reader.iter_metadata() if record.name == "rosbag2"]
    assert {(schema.name, schema.encoding) for schema in summary.schemas.values()} == {
        ("sensor_msgs/msg/Image", "ros2msg")
    }
    assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}
    assert summary.statistics.message_count == 4
    assert "drive.mcap" in metadata.metadata["serialized_metadata"]
    assert ".tmp" not in metadata.metadata["serialized_metadata"]


def test_lone_db3_is_what_ros2_bag_expects(tmp_path):
    path = write(tmp_path / "drive.db3", samples(2))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT schema_version FROM schema").fetchone() == (4,)
    assert connection.execute("SELECT name, type, serialization_format FROM topics ORDER BY name").fetchall() == [
        ("/camera/image_raw", "sensor_msgs/msg/Image", "cdr"),
        ("/camera/labels", "sensor_msgs/msg/Image", "cdr"),
    ]
    assert connection.execute("SELECT topic_type, encoding FROM message_definitions").fetchall() == [
        ("sensor_msgs/msg/Image", "ros2msg")
    ]
    assert "drive.db3" in connection.execute("SELECT metadata FROM metadata").fetchone()[0]
    connection.close()


def test_png_is_exact_and_jpeg_is_near(tmp_path):
    gradient = np.tile(np.arange(128, dtype=np.uint8)[None, :, None], (96, 1, 3))
    frame = Sample(gradient, None, "gradient")
    for kind, tolerance in (("png", 0), ("jpeg", 4)):
        path = write(tmp_path / f"{kind}.mcap", [frame], compression=kind)
        with open_bag(path) as bag:
            (message,) = bag.messages()
            assert (message.topic, message.type) == ("/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage")
            content = bag.deserialize(message)
            assert content.format == f"bgr8; {kind} compressed bgr8"
            decoded = cv2.imdecode(content.data, cv2.IMREAD_UNCHANGED)
            assert np.abs(decoded.astype(int) - gradient).max() <= tolerance


def test_video_keeps_its_own_rate(tmp_path):
    video = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (128, 96))
    for index in range(5):
        writer.write(np.full((96, 128, 3), 40 * index, dtype=np.uint8))
    writer.release()
    out = tmp_path / "drive.mcap"
    start = f"{START_NS // 10**9}.{START_NS % 10**9:09d}"
    assert run_cli("make", "--video", video, "--out", out, "--start", start) == 0
    with open_bag(out) as bag:
        found = list(bag.messages())
        assert [message.stamp_ns for message in found] == [START_NS + index * 80_000_000 for index in range(5)]
        means = [bag.deserialize(message).data.mean() for message in found]
    assert np.allclose(means, [40 * index for index in range(5)], atol=6)
    assert run_cli("make", video, "--out", out, "--rate", "10", "--overwrite") == 0
    with open_bag(out) as bag:
        assert bag.end_ns - bag.start_ns == 4 * 10**8


def test_a_video_of_variable_rate_keeps_its_stamps_and_a_cut_one_is_incomplete(tmp_path, capsys):
    times_ms = [0, 33, 67, 100, 300, 500, 700]
    video = tmp_path / "drive.mkv"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), 50, np.uint8), format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    out = tmp_path / "drive.mcap"
    assert run_cli("make", video, "--out", out, "--start", 100) == 0
    assert "0.700 s" in capsys.readouterr().out
    with open_bag(out) as bag:
        assert [message.stamp_ns for message in bag.messages()] == [10**11 + 10**6 * time_ms for time_ms in times_ms]
    cut = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(cut), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    for frame in samples(20):
        writer.write(frame.image)
    writer.release()
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert run_cli("make", cut, "--out", tmp_path / "cut.mcap") == 3
    with open_bag(tmp_path / "cut.mcap") as bag:
        assert 5 < bag.topics["/camera/image_raw"].count < 15


@pytest.mark.parametrize("name", ["/cam era", "camera", "/camera/", "/1st", "/a__b", "/", "/camera/labels"])
def test_topic_names_that_are_not_written(tmp_path, name, error_of):
    message = error_of(BagWriter, tmp_path / "x.mcap", BagSettings(image_topic=name, label_topic="/camera/labels"))
    assert name in message


def test_folder_with_labels_and_void(tmp_path):
    frames = samples(3)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for frame in frames:
        cv2.imwrite(str(tmp_path / "images" / f"{frame.name}.png"), frame.image)
    on_disk = np.where(frames[1].label == 255, 11, frames[1].label)
    cv2.imwrite(str(tmp_path / "labels" / "001.png"), on_disk)
    out = tmp_path / "drive.db3"
    arguments = ["make", tmp_path / "images", "--labels", tmp_path / "labels", "--void", 11, "--rate", 15, "--out", out]
    assert run_cli(*arguments) == 0
    with open_bag(out) as bag:
        (message,) = bag.messages(["/camera/labels"])
        assert np.array_equal(bag.deserialize(message).data.reshape(96, 128), frames[1].label)
        assert message.stamp_ns == bag.start_ns + 10**9 // 15
        assert bag.topics["/camera/image_raw"].count == 3


def test_labels_of_other_bit_depths(tmp_path, error_of):
    (frame,) = samples(1)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), frame.image)
    path, ids = tmp_path / "labels" / "a.png", (frame.label > 5).astype(np.uint8)
    palette = Image.frombytes("P", ids.shape[::-1], ids.tobytes())
    palette.putpalette([0, 0, 0, 128, 0, 0])
    for image in (Image.fromarray(ids > 0), Image.fromarray(ids.astype(np.uint16)), palette):
        image.save(path)
        (sample,) = FileSource(tmp_path / "images", tmp_path / "labels")
        np.testing.assert_array_equal(sample.label, ids)
    path.write_bytes(cv2.imencode(".jpg", ids)[1].tobytes())
    assert "got JPEG" in error_of(list, FileSource(tmp_path / "images", tmp_path / "labels"))


def test_topics_and_frame_id_can_be_chosen(tmp_path):
    path = write(tmp_path / "a.mcap", samples(1), image_topic="/front/rgb", label_topic="/front/ids", frame_id="front")
    with open_bag(path) as bag:
        assert set(bag.topics) == {"/front/rgb", "/front/ids"}
        assert {bag.deserialize(message).header.frame_id for message in bag.messages()} == {"front"}


def test_a_bag_is_not_overwritten_unless_asked(tmp_path, error_of):
    for name in ("drive.mcap", "drive"):
        path = write(tmp_path / name, samples(1))
        assert "--overwrite" in error_of(write, path, samples(2))
        write(path, samples(2), overwrite=True)
        with open_bag(path) as bag:
            assert bag.topics["/camera/image_raw"].count == 2
    folder = tmp_path / "photos"
    folder.mkdir()
    assert str(folder) in error_of(write, folder, samples(1), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive", "drive.mcap", "photos"]


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive"])
def test_a_failed_bag_leaves_nothing_behind(tmp_path, name):
    earlier = write(tmp_path / name, samples(1))

    def breaking():
        yield from samples(2)
        raise BagError("the camera fell off")

    with pytest.raises(BagError, match="fell off"):
        make_bag(breaking(), earlier, rate=RATE, start_ns=0, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with open_bag(earlier) as bag:
        assert bag.topics["/camera/image_raw"].count == 1


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("drive.mp4", {}, ".mcap, .db3"),
        ("drive.mcap", {"storage": "sqlite3"}, "sqlite3"),
        ("drive", {"storage": "leveldb"}, "mcap, sqlite3"),
        ("drive", {"compression": "webp"}, "jpeg, png"),
        ("drive", {"quality": 0}, "1 to 100"),
        ("drive", {"image_topic": "image"}, "'image'"),
    ],
)
def test_invalid_settings(tmp_path, error_of, name, settings, words):
    assert words in error_of(write, tmp_path / name, samples(1), **settings)
    assert list(tmp_path.iterdir()) == []


def test_invalid_sources(tmp_path, error_of):
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    out = tmp_path / "x.mcap"
    assert "notes.mp4" in error_of(run_cli, "make", text, "--out", out)
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in error_of(run_cli, "make", tmp_path / "empty", "--rate", 15, "--out", out)
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), samples(1)[0].image)
    assert "--rate" in error_of(run_cli, "make", images, "--out", out)
    labels = tmp_path / "labels"
    labels.mkdir()
    cv2.imwrite(str(labels / "a.png"), np.zeros((5, 5), dtype=np.uint8))
    assert "96x128" in error_of(run_cli, "make", images, "--labels", labels, "--rate", 15, "--out", out)
    (labels / "a.png").rename(labels / "b.png")
    assert str(labels) in error_of(run_cli, "make", images, "--labels", labels, "--rate", 15, "--out", out)
    (images / "b.png").write_text("no image")
    assert "b.png" in error_of(run_cli, "make", images, "--rate", 15, "--out", out)
    assert not out.exists()


def test_a_source_can_be_read_twice(tmp_path):
    for frame in samples(2):
        cv2.imwrite(str(tmp_path / f"{frame.name}.png"), frame.image)
    source = FileSource(Path(tmp_path))
    assert source.count == 2
    assert source.rate is None
    assert [sample.name for sample in source] == [sample.name for sample in source] == ["000", "001"]


def test_default_settings():
    assert BagSettings() == BagSettings(None, None, 90, "/camera/image_raw", "/camera/labels", "camera")
