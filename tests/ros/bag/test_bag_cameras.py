"""``lsabinet bag make --cameras``: several cameras in one bag, and CameraInfo as ROS defines it."""

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
from bag_cases import START_NS, run_cli, samples
from rosbags.highlevel import AnyReader

from lsabinet_ros.bag.calibration import pinhole, read_calibration
from lsabinet_ros.bag.camera_sources import CameraSources
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.topics import find_label_topic

CALIBRATION = """
image_width: 128
image_height: 96
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [100.5, 0, 63.5, 0, 101, 47.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0, 0, 0.01]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [100.5, 0, 63.5, 0, 0, 101, 47.5, 0, 0, 0, 1, 0]}
"""


@pytest.fixture
def cameras(tmp_path):
    """Three frames in front, two at the rear, and labels in front; the folder, and the frames by camera."""
    frames = {"front": samples(3), "rear": samples(5)[3:]}
    for name, found in frames.items():
        for index, frame in enumerate(found):
            for kind, array in (("images", frame.image), ("labels", frame.label)):
                if kind == "labels" and name == "rear":
                    continue
                (tmp_path / kind / name).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / kind / name / f"{index}.png"), array)
    return tmp_path, frames


def read(path):
    """The messages of each topic with their stamps, as rosbags reads them."""
    found = {}
    with AnyReader([path]) as reader:
        for connection, stamp_ns, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp_ns
            found.setdefault(connection.topic, []).append((stamp_ns, message))
    return found


def test_each_camera_has_its_topics_and_all_have_the_same_times(cameras):
    folder, frames = cameras
    path = folder / "drive.mcap"
    options = ("--rate", 4, "--start", f"{START_NS // 10**9}.{START_NS % 10**9:09d}", "--out", path)
    labels = ("--labels", folder / "labels")
    assert run_cli("make", "--images", folder / "images", "--cameras", "front", "rear", *labels, *options) == 0
    found = read(path)
    assert sorted(found) == ["/front/image_raw", "/front/labels", "/rear/image_raw"]
    for name, expected in frames.items():
        messages = found[f"/{name}/image_raw"]
        assert [stamp for stamp, _ in messages] == [START_NS + i * 250_000_000 for i in range(len(expected))]
        for frame, (_, message) in zip(expected, messages, strict=True):
            assert message.header.frame_id == name
            np.testing.assert_array_equal(message.data.reshape(frame.image.shape), frame.image)
    with open_bag(path) as bag:
        assert find_label_topic(bag, None, "/front/image_raw") == "/front/labels"
        assert find_label_topic(bag, None, "/rear/image_raw") is None
    found = [
        (sample.camera, sample.time_s)
        for sample in CameraSources(folder / "images", ["rear", "front"], rate=Fraction(2))
    ]
    assert found == [("rear", 0), ("front", 0), ("rear", 0.5), ("front", 0.5), ("front", 1)]


def test_the_limit_is_that_of_each_camera(cameras):
    folder, _ = cameras
    source = CameraSources(folder / "images", ["front", "rear"], rate=Fraction(2), limit=1)
    assert [sample.camera for sample in source] == ["front", "rear"]
    assert source.count == 2


def test_camera_info_from_a_file(cameras):
    folder, _ = cameras
    (folder / "front.yaml").write_text(CALIBRATION)
    (folder / "rear.yaml").write_text(CALIBRATION.replace("100.5", "90"))
    options = ("--cameras", "front", "rear", "--calibration", folder / "front.yaml", folder / "rear.yaml", "--rate", 4)
    assert run_cli("make", folder / "images", *options, "--out", folder / "drive.mcap") == 0
    found = read(folder / "drive.mcap")
    infos = found["/front/camera_info"]
    assert [stamp for stamp, _ in infos] == [stamp for stamp, _ in found["/front/image_raw"]]
    info = infos[0][1]
    assert (info.height, info.width, info.distortion_model) == (96, 128, "plumb_bob")
    assert info.header.frame_id == "front"
    assert info.d.tolist() == [0.1, -0.2, 0, 0, 0.01]
    assert info.k.tolist() == [100.5, 0, 63.5, 0, 101, 47.5, 0, 0, 1]
    assert info.p.tolist() == [100.5, 0, 63.5, 0, 0, 101, 47.5, 0, 0, 0, 1, 0]
    assert found["/rear/camera_info"][0][1].k[0] == 90


def test_camera_info_of_a_field_of_view(cameras):
    folder, _ = cameras
    options = ("--rate", 4, "--fov", 90, "--compressed", "png", "--out", folder / "drive.mcap")
    assert run_cli("make", folder / "images" / "front", *options) == 0
    found = read(folder / "drive.mcap")
    assert sorted(found) == ["/camera/camera_info", "/camera/image_raw/compressed"]
    info = found["/camera/camera_info"][0][1]
    # The rays through the left and the right edge of the image, half a pixel outside of the outermost centres.
    left, right = ((column - info.k[2]) / info.k[0] for column in (-0.5, 127.5))
    assert math.degrees(math.atan(right) - math.atan(left)) == pytest.approx(90)
    assert info.k[4] == info.k[0]
    assert info.k[5] == 47.5
    assert info.p.reshape(3, 4)[:, :3].tolist() == info.k.reshape(3, 3).tolist()
    with pytest.raises(SystemExit):
        run_cli("make", folder / "images" / "front", "--fov", 180, "--out", folder / "x.mcap")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cameras", "front", "left"], ["left", "nothing"]),
        (["--cameras", "front", "front"], ["different"]),
        (["--cameras", "front door"], ["front door"]),
        (["--cameras", "front", "--frame-id", "a"], ["--frame-id"]),
        (["--cameras", "front", "--labels", "images/rear"], ["labels", "front"]),
        (["--calibration", "a.yaml", "b.yaml"], ["one file", "got 2"]),
    ],
)
def test_invalid_combinations_of_options(cameras, monkeypatch, options, words, error_of):
    folder, _ = cameras
    monkeypatch.chdir(folder)
    message = error_of(run_cli, "make", "images", *options, "--rate", 4, "--out", "drive.mcap")
    assert [word for word in words if word not in message] == []
    assert not (folder / "drive.mcap").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("image_width: 128\n", ""), ["image_width"]),
        (lambda text: text.replace("47.5, 0, 0, 1]", "47.5]"), ["9", "camera_matrix"]),
        (lambda text: text.replace("plumb_bob", "[]"), ["distortion_model"]),
        (lambda text: text.replace("0.1, -0.2", "a, b"), ["distortion_coefficients"]),
        (lambda text: "a: [", ["YAML"]),
    ],
)
def test_invalid_calibration_files(tmp_path, change, words, error_of):
    path = tmp_path / "camera.yaml"
    path.write_text(change(CALIBRATION))
    message = error_of(read_calibration, path)
    assert [word for word in words if word not in message] == []
    assert str(path) in message


def test_a_calibration_of_another_size(error_of):
    assert "480x640" in error_of(pinhole((480, 640), 90).check_size, (96, 128))
