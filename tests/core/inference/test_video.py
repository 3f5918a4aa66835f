"""Videos read with PyAV: time stamps, counts and orientation from the container, and codecs that OpenCV may lack."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from lsabinet_core.errors import FrameError
from lsabinet_core.inference.sources import VideoSource, open_source
from lsabinet_core.inference.video import AvVideoSource

SIZE = (48, 64)
MILLISECOND = Fraction(1, 1000)


def write_video(path, levels, times_ms, codec="libx264"):
    """Write grey frames with the given time stamps; their left half is dark, which shows the orientation."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = MILLISECOND
        for level, time_ms in zip(levels, times_ms):
            pixels = np.full((*SIZE, 3), level, np.uint8)
            pixels[:, : SIZE[1] // 2] = 16
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts, frame.time_base = time_ms, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels_of(frames):
    return [frame[:, SIZE[1] // 2 + 4 :].mean() for frame in frames]


@pytest.mark.parametrize("name", ["drive.mkv", "drive.mp4"])
def test_time_stamps_of_a_variable_frame_rate(tmp_path, name):
    times_ms = [0, 33, 67, 100, 300, 500, 700]
    levels = [40, 70, 100, 130, 160, 190, 220]
    source = open_source(write_video(tmp_path / name, levels, times_ms))
    assert isinstance(source, AvVideoSource)
    found, frames = [], []
    for _, frame in source:
        found.append(source.time_s)
        frames.append(frame)
    assert [round(1000 * time_s) for time_s in found] == times_ms
    np.testing.assert_allclose(levels_of(frames), levels, atol=4)
    assert source.lost is None
    assert frames[0].shape == (*SIZE, 3)


@pytest.fixture
def ordinary_priority():
    """As root, the AV1 encoder gives the thread that calls it real-time priority, which later tests would inherit."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    yield
    os.sched_setscheduler(0, policy, parameters)


@pytest.mark.usefixtures("ordinary_priority")
@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_codecs_beyond_h264(tmp_path, codec):
    if codec not in av.codecs_available:
        pytest.fail(f"expected PyAV with the codec {codec}, as in its wheels")
    levels = [60, 120, 180]
    source = AvVideoSource(write_video(tmp_path / "drive.mkv", levels, [0, 40, 80], codec))
    np.testing.assert_allclose(levels_of([frame for _, frame in source]), levels, atol=8)


def jpeg_avi(tmp_path, noise_image):
    """Write an AVI file of 30 JPEG frames; returns its path and content."""
    path = tmp_path / "whole.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        for seed in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise_image(seed, SIZE), format="bgr24")))
        container.mux(stream.encode())
    return path, bytearray(path.read_bytes())


def test_a_damaged_frame_does_not_shift_the_time_stamps_of_the_others(tmp_path, noise_image, caplog):
    whole, content = jpeg_avi(tmp_path, noise_image)
    times = {}
    source = open_source(whole)
    for _, frame in source:
        times[source.time_s] = frame
    assert source.lost is None
    assert len(times) == 30
    position = content.index(b"00dc", len(content) // 2) + 8
    length = int.from_bytes(content[position - 4 : position], "little")
    content[position : position + length] = b"\x55" * length
    broken = tmp_path / "broken.avi"
    broken.write_bytes(content)
    source = open_source(broken)
    found = {}
    for _, frame in source:
        found[source.time_s] = frame
    assert len(found) == 29
    assert all(np.array_equal(frame, times[time_s]) for time_s, frame in found.items())
    assert "30 frames" in source.lost
    assert "29" in source.lost
    assert source.lost in caplog.text


def test_a_truncated_matroska_file_is_detected_by_its_duration(tmp_path):
    times_ms = [40 * index for index in range(100)]
    whole = write_video(tmp_path / "whole.mkv", [40 + index for index in range(100)], times_ms)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(whole)
    assert len(list(source)) == 100
    assert source.lost is None
    source = open_source(cut)
    assert 0 < len(list(source)) < 100
    assert "truncated" in source.lost


def test_a_file_without_video_stream_is_rejected(tmp_path):
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(FrameError, match="no video stream"):
        open_source(sound)


def test_opencv_reads_videos_if_pyav_is_not_installed(tmp_path):
    path = write_video(tmp_path / "drive.mp4", [60, 120, 180], [0, 40, 80])
    program = f"""
import sys
sys.modules["av"] = None
import importlib.util
importlib.util.find_spec = lambda name, find=importlib.util.find_spec: None if name == "av" else find(name)
from lsabinet_core.inference.sources import open_source
source = open_source({str(path)!r})
print(type(source).__name__, len(list(source)), source.time_s, source.lost)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == [VideoSource.__name__, "3", "None", "None"], result.stderr


def set_display_matrix(path, matrix):
    """Replace the display matrix of the track in an MP4 file (ISO/IEC 14496-12, tkhd version 0)."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4
    assert content[start] == 0
    # The matrix follows version and flags, five 32-bit words, two reserved words, and layer, group, volume, reserved.
    position = start + 4 + 4 * 5 + 8 + 8
    content[position : position + 36] = b"".join(int(value).to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [
        ((0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30), 1),  # clockwise, as recorded by telephones
        ((-(1 << 16), 0, 0, 0, -(1 << 16), 0, 64 << 16, 48 << 16, 1 << 30), 2),
    ],
)
def test_frames_are_turned_upright(tmp_path, matrix, quarters):
    path = write_video(tmp_path / "drive.mp4", [200], [0])
    ((_, plain),) = AvVideoSource(path)
    set_display_matrix(path, matrix)
    ((_, turned),) = AvVideoSource(path)
    np.testing.assert_array_equal(turned, np.rot90(plain, -quarters))
    # OpenCV also applies the display matrix.
    ((_, opencv),) = VideoSource(path)
    assert opencv.shape == turned.shape
    assert np.abs(opencv.astype(int) - turned).mean() < 3
