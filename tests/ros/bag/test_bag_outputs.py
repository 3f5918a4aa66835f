"""``lsabinet bag evaluate --out-bag``: the bag as the libraries of the formats read it."""

import csv

import cv2
import numpy as np
import pytest
from bag_cases import SIZE, run_cli, samples, stamp_of, write
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from lsabinet_core.errors import BagError
from lsabinet_core.inference import Segmentation, Segmenter, Timings
from lsabinet_core.labels import CAMVID
from lsabinet_ros.bag import writer
from lsabinet_ros.bag.output_bag import OutputBag
from lsabinet_ros.bag.samples import BagSample


@pytest.mark.parametrize("compression", [None, "jpeg"])
def test_outputs_are_those_of_the_segmenter(tmp_path, weights, compression):
    frames = samples(3)
    path = write(tmp_path / "drive.mcap", frames, compression=compression, frame_id="front")
    out = tmp_path / "out"
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", out, "--out-bag")
    assert run_cli("evaluate", path, *options) == 0
    assert {entry.name for entry in out.iterdir()} == {
        *("outputs.mcap", "report.json", "report.md", "report.html", "frames.csv")
    }
    found = {}
    # rosbags alone, as any other program would read it
    with AnyReader([out / "outputs.mcap"]) as reader:
        for connection, stamp_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.frame_id == "front"
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp_ns
            found.setdefault(connection.topic, []).append((stamp_ns, message))
    topics = [f"/camera/image_raw/{name}" for name in ("mask", "overlay/compressed", "latency")]
    assert sorted(found) == sorted(topics)
    masks, overlays, latencies = ([message for _, message in found[topic]] for topic in topics)
    assert all([stamp for stamp, _ in found[topic]] == [stamp_of(i) for i in range(3)] for topic in topics)
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch") as segmenter:
        for frame, mask, overlay in zip(frames, masks, overlays):
            assert (mask.height, mask.width, mask.encoding) == (*SIZE, "mono8")
            shown = cv2.imdecode(overlay.data, cv2.IMREAD_COLOR)
            assert shown.shape == (*SIZE, 3)
            if compression is None:
                expected = segmenter.segment(frame.image).mask
                np.testing.assert_array_equal(mask.data.reshape(SIZE), expected)
                difference = cv2.absdiff(shown, segmenter.overlay(frame.image, expected))
                assert difference.mean() < 30  # noise is hard for JPEG
    with (out / "frames.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, message in zip(rows, latencies):
        values = {pair.key: float(pair.value) for pair in message.status[0].values}
        assert values["inference"] == pytest.approx(float(row["inference_ms"]), abs=0.002)
        stages = ("preprocess", "inference", "postprocess")
        assert values["total"] == pytest.approx(sum(values[stage] for stage in stages), abs=0.002)


def test_the_file_is_compressed_and_indexed(tmp_path, weights):
    path = write(tmp_path / "drive.mcap", samples(2))
    options = ("--weights", weights, "--backend", "torch", "--out", tmp_path / "out", "--out-bag")
    assert run_cli("evaluate", path, *options) == 0
    with open(tmp_path / "out" / "outputs.mcap", "rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary.statistics.message_count == 6
    assert {chunk.compression for chunk in summary.chunk_indexes} == {"zstd"}
    # What Foxglove needs to decode them without a ROS installation.
    assert {(schema.encoding, bool(schema.data)) for schema in summary.schemas.values()} == {("ros2msg", True)}
    assert {channel.message_encoding for channel in summary.channels.values()} == {"cdr"}


class Drawer:
    label_set, device = CAMVID, "cpu"

    def overlay(self, frame, mask):
        return frame


class Source:
    topic = "/camera/image_raw"


def add_frame(bag):
    sample = BagSample(np.zeros((*SIZE, 3), np.uint8), None, "", Source(), 1, 1, None)
    bag.append(sample, Segmentation(np.zeros(SIZE, np.uint8), None, Timings(0.0, 1.0, 0.0)))


def test_an_unfinished_bag_is_never_taken_for_a_whole_one(tmp_path):
    path = tmp_path / "outputs.mcap"
    path.write_text("an older one")
    with pytest.raises(KeyboardInterrupt), OutputBag(path, Drawer()) as bag:
        add_frame(bag)
        raise KeyboardInterrupt
    assert path.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_bag_that_cannot_be_written_does_not_end_the_evaluation(tmp_path, monkeypatch):
    with OutputBag(tmp_path / "outputs.mcap", Drawer()) as bag:
        add_frame(bag)

        def full(*_):
            raise BagError("the disk is full")

        monkeypatch.setattr(writer.BagWriter, "write_serialized", full)
        add_frame(bag)
        add_frame(bag)
        assert "the disk is full" in bag.close()
    assert list(tmp_path.iterdir()) == []
