"""Images, folders, videos and cameras as sources of frames."""

import os

import cv2
import numpy as np
import pytest

from lsabinet_core.errors import FrameError
from lsabinet_core.inference.sources import open_source


def write_video(path, frames, fps=12.5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, frames[0].shape[1::-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()


def test_image(tmp_path, noise_image):
    image = noise_image(1, (30, 40))
    cv2.imwrite(str(tmp_path / "street.v2.png"), image)
    source = open_source(tmp_path / "street.v2.png")
    assert (source.kind, source.count, source.fps) == ("images", 1, None)
    [(name, frame)] = source
    assert name == "street.v2"
    np.testing.assert_array_equal(frame, image)


def test_folder_is_sorted_and_skips_other_files(tmp_path, noise_image):
    for name in ("b.png", "a.JPG", "c.bmp"):
        cv2.imwrite(str(tmp_path / name), noise_image(2, (30, 40)))
    (tmp_path / "readme.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    source = open_source(str(tmp_path))
    assert source.count == 3
    assert [name for name, _ in source] == ["a", "b", "c"]
    assert not source.unreadable


def test_equal_stems_get_distinct_names(tmp_path, noise_image):
    for name in ("a.png", "a.jpg", "b.png"):
        cv2.imwrite(str(tmp_path / name), noise_image(3, (30, 40)))
    assert [name for name, _ in open_source(tmp_path)] == ["a_jpg", "a_png", "b"]


def test_names_of_a_folder_are_distinct(tmp_path, noise_image):
    files = ("a.b.png", "a.b.jpg", "a_b_png.png", "a_b_png.jpg", "a_b_jpg_2.png")
    for name in files:
        cv2.imwrite(str(tmp_path / name), noise_image(3, (30, 40)))
    names = [name for name, _ in open_source(tmp_path)]
    assert len(set(names)) == len(files)
    assert "a_b_jpg_2" in names


def test_names_that_are_not_utf8(tmp_path, noise_image):
    content = cv2.imencode(".png", noise_image(3, (30, 40)))[1].tobytes()
    for name in ("stra\udcdfe.png", "stra\udce9e.png", "street.png"):
        (tmp_path / name).write_bytes(content)
    names = [name for name, _ in open_source(tmp_path)]
    assert len(set(names)) == 3
    assert "street" in names
    assert all(name.encode() for name in names), "the names are valid UTF-8"
    video = tmp_path / "stra\udcdfe.mp4"
    video.write_bytes(b"")
    with pytest.raises(FrameError, match="is not a name in UTF-8"):
        open_source(video)


def test_non_regular_files_are_reported(tmp_path, noise_image):
    cv2.imwrite(str(tmp_path / "a.png"), noise_image(4, (30, 40)))
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "c.png")
    os.mkfifo(tmp_path / "d.png")
    (tmp_path / "e.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "f.png").mkdir()
    source = open_source(tmp_path)
    assert [name for name, _ in source] == ["a", "e"]
    assert source.count == 5
    assert [path.name for path in source.unreadable] == ["b.png", "c.png", "d.png"]
    for path, reason in source.unreadable.items():
        assert str(path) in reason
        assert "\n" not in reason


def test_unreadable_image_in_a_folder_is_skipped(tmp_path, noise_image):
    cv2.imwrite(str(tmp_path / "a.png"), noise_image(4, (30, 40)))
    (tmp_path / "b.png").write_text("this is text")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    (tmp_path / "d.png").write_bytes(b"")
    source = open_source(tmp_path)
    assert [name for name, _ in source] == ["a"]
    assert [path.name for path in source.unreadable] == ["b.png", "c.png", "d.png"]


def test_grey_and_16_bit_images_become_bgr_uint8(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((30, 40), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((30, 40, 3), 77 * 256, np.uint16))
    for _, frame in open_source(tmp_path):
        assert frame.dtype == np.uint8
        assert frame.shape == (30, 40, 3)
        assert (frame == 77).all()


def test_video(tmp_path):
    levels = [20, 90, 160, 230]
    write_video(tmp_path / "drive.mp4", [np.full((48, 64, 3), level, np.uint8) for level in levels])
    source = open_source(tmp_path / "drive.mp4")
    assert source.kind == "video"
    assert source.count == 4
    assert source.fps == pytest.approx(12.5)
    names, frames = zip(*source, strict=True)
    assert names == tuple(f"drive_{index:06d}" for index in range(4))
    np.testing.assert_allclose([frame.mean() for frame in frames], levels, atol=4)
    source.close()


def test_invalid_sources(tmp_path):
    text = tmp_path / "drive.mp4"
    text.write_text("this is no video\n" * 50)
    image = tmp_path / "street.png"
    image.write_text("this is no image")
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, message in (
        (text, "drive.mp4 is not a video"),
        (image, "street.png: not an image"),
        (empty, "empty holds no images: expected files ending in"),
        (tmp_path / "missing.mp4", "expected an image, a folder of images, a video or a camera index"),
        ("", "holds no image|no input"),
    ):
        with pytest.raises(FrameError, match=message):
            open_source(source)


def test_truncated_video_without_index(tmp_path, noise_image):
    whole = tmp_path / "whole.mp4"
    write_video(whole, [noise_image(seed, (48, 64)) for seed in range(10)])
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(FrameError, match=r"half.mp4 is not a video"):
        open_source(half)


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_video_with_missing_frames_is_reported(tmp_path, noise_image, caplog, share):
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for seed in range(20):
        writer.write(noise_image(seed, (48, 64)))
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    source = open_source(cut)
    decoded = len(list(source))
    assert source.count == 20
    assert (decoded == 20) == (share == 1)
    warnings = [record.getMessage() for record in caplog.records]
    if share == 1:
        assert warnings == []
    else:
        (warning,) = warnings
        assert "cut.avi declares 20 frames" in warning
        assert f" {decoded} could be decoded" in warning


def test_partially_read_video_is_not_reported(tmp_path, noise_image, caplog):
    write_video(tmp_path / "drive.mp4", [noise_image(seed, (48, 64)) for seed in range(5)])
    frames = iter(open_source(tmp_path / "drive.mp4"))
    next(frames)
    frames.close()
    assert caplog.records == []


class FakeCapture:
    """A camera that is unplugged after three frames."""

    def __init__(self, index):
        self.index, self.left = index, 3

    def isOpened(self):  # OpenCV's name
        return self.index == 0

    def get(self, _):
        return 0.0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), 128, np.uint8)

    def release(self):
        pass


def test_camera(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    source = open_source("0")
    assert (source.kind, source.count, source.fps) == ("camera", None, None)
    frames = iter(source)
    assert [next(frames)[0] for _ in range(3)] == ["frame_000000", "frame_000001", "frame_000002"]
    with pytest.raises(FrameError, match="camera 0 stopped delivering frames after 3"):
        next(frames)
    with pytest.raises(FrameError, match="camera 7 cannot be opened"):
        open_source("7")


def test_missing_camera_is_a_clear_error(capfd):
    # The second does not fit into an integer of OpenCV.
    for index in ("97", "9" * 20):
        with pytest.raises(FrameError, match=f"camera {index} cannot be opened"):
            open_source(index)
    assert capfd.readouterr().err == ""
