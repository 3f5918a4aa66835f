"""``lsabinet bag extract`` writes files from which the same bag can be made again."""

import cv2
import numpy as np
import pytest
from bag_cases import RATE, START_NS, run_cli, samples, stamp_of, write

from lsabinet_ros.bag.reader import open_bag


def test_extracted_frames_and_labels_make_the_same_bag(tmp_path, capsys):
    frames = samples(3, labelled=lambda index: index != 1)
    bag = write(tmp_path / "drive.mcap", frames)
    out = tmp_path / "out"
    assert run_cli("extract", bag, "--out", out) == 0
    assert sorted(path.name for path in (out / "images").iterdir()) == [f"{stamp_of(i)}.png" for i in range(3)]
    assert sorted(path.name for path in (out / "labels").iterdir()) == [f"{stamp_of(i)}.png" for i in (0, 2)]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(cv2.imread(str(out / "images" / f"{stamp_of(index)}.png")), frame.image)
    label = cv2.imread(str(out / "labels" / f"{stamp_of(2)}.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(label, frames[2].label)
    assert "3 frames" in capsys.readouterr().out
    start = f"{START_NS // 10**9}.{START_NS % 10**9:09d}"
    options = ("--rate", str(RATE), "--start", start, "--out", tmp_path / "again.mcap")
    assert run_cli("make", "--images", out / "images", "--labels", out / "labels", *options) == 0
    with open_bag(bag) as before, open_bag(tmp_path / "again.mcap") as after:
        assert list(before.messages()) == list(after.messages())


def test_limit_and_jpeg(tmp_path):
    bag = write(tmp_path / "drive.mcap", samples(3))
    assert run_cli("extract", bag, "--out", tmp_path / "out", "--limit", 1, "--jpeg") == 0
    (image,) = (tmp_path / "out" / "images").iterdir()
    assert image.name == f"{stamp_of(0)}.jpg"
    assert image.read_bytes()[:2] == b"\xff\xd8"


def test_a_damaged_bag_and_a_full_folder(tmp_path, error_of):
    bag = write(tmp_path / "drive.mcap", samples(40, size=(192, 256)))
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])
    out = tmp_path / "out"
    assert run_cli("extract", bag, "--out", out) == 3
    assert 5 < len(list((out / "images").iterdir())) < 40
    assert str(out) in error_of(run_cli, "extract", bag, "--out", out)


@pytest.mark.parametrize("topic", ["/camera/labels", "/nothing"])
def test_topics(tmp_path, topic, error_of):
    bag = write(tmp_path / "drive.mcap", samples(1))
    if topic == "/nothing":
        assert topic in error_of(run_cli, "extract", bag, "--out", tmp_path / "out", "--image-topic", topic)
    else:
        assert run_cli("extract", bag, "--out", tmp_path / "out", "--label-topic", topic) == 0
