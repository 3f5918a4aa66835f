"""``lsabinet predict`` on synthetic images, folders, videos and a fake camera."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import lsabinet_core
from lsabinet_core.cli import main
from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.backends import DEFAULT_BACKEND, create_backend
from lsabinet_core.inference.overlay import blend
from lsabinet_core.labels import CAMVID

CHECKOUT = Path(lsabinet_core.__file__).parents[1]


def predict(source, weights, out, *options):
    arguments = ["predict", str(source), "--weights", str(weights), "--out", str(out), "--device", "cpu"]
    return main([*arguments, "--backend", "torch", *options])


def summary(out):
    return json.loads((out / "summary.json").read_text())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def image_folder(tmp_path, noise_image):
    folder = tmp_path / "images"
    folder.mkdir()
    for index, size in enumerate([(96, 128), (96, 128), (75, 121)]):
        cv2.imwrite(str(folder / f"street{index}.png"), noise_image(index, size))
    return folder


@pytest.fixture
def video(tmp_path, noise_image):
    """Seven frames of an odd size, 10 Hz."""
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (131, 97))
    for index in range(7):
        writer.write(noise_image(index, (97, 131)))
    writer.release()
    return path


def test_image(tmp_path, random_weights, image_folder, capsys):
    out = tmp_path / "deep" / "out"
    assert predict(image_folder / "street2.png", random_weights, out) == 0
    frame = cv2.imread(str(image_folder / "street2.png"))
    mask = cv2.imread(str(out / "masks" / "street2.png"), cv2.IMREAD_UNCHANGED)
    expected = Segmenter.from_pretrained(random_weights, device="cpu", backend="torch").segment(frame).mask
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected)
    overlay = cv2.imread(str(out / "overlays" / "street2.jpg"))
    jpeg = cv2.imencode(".jpg", blend(frame, mask, CAMVID))[1]
    np.testing.assert_array_equal(overlay, cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    assert names(out) == ["legend.png", "masks", "overlays", "summary.json"]
    assert "frames: 1" in capsys.readouterr().out


def test_the_engine_is_selected_automatically_by_default(tmp_path, random_weights, image_folder, monkeypatch):
    asked = []

    def create(name, **options):
        asked.append(name)
        return create_backend("torch", **options)

    monkeypatch.setattr("lsabinet_core.inference.segmenter.create_backend", create)
    arguments = ["predict", str(image_folder), "--weights", str(random_weights), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main([*arguments, "--backend", "openvino"]) == 0
    assert asked == [DEFAULT_BACKEND, "openvino"] == ["auto", "openvino"]


def test_folder(tmp_path, random_weights, image_folder):
    out = tmp_path / "out"
    assert predict(image_folder, random_weights, out) == 0
    assert names(out / "masks") == ["street0.png", "street1.png", "street2.png"]
    assert names(out / "overlays") == ["street0.jpg", "street1.jpg", "street2.jpg"]
    written = summary(out)
    assert written["frames"] == 3
    assert written["kind"] == "images"
    assert not written["interrupted"]
    assert written["frame_sizes"] == [[75, 121], [96, 128]]
    assert written["weights"] == str(random_weights)
    assert written["device"] == "cpu"
    assert written["classes"] == list(CAMVID.names)
    for stage in ("preprocess", "inference", "postprocess", "total"):
        figures = written["latency_ms"][stage]
        assert figures["count"] == 3
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
    assert predict(image_folder, random_weights, out) == 0, "a second run into the same folder"


def test_video_gives_an_overlay_video_of_the_same_rate_and_length(tmp_path, random_weights, video):
    out = tmp_path / "out"
    assert predict(video, random_weights, out) == 0
    assert names(out) == ["legend.png", "masks", "overlay.mp4", "overlays", "summary.json"]
    assert names(out / "masks") == [f"drive_{index:06d}.png" for index in range(7)]
    capture = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    for index in range(7):
        found, frame = capture.read()
        assert found
        assert frame.shape == (96, 130, 3), "MPEG-4 requires even sizes: the odd last row and column are cropped"
        still = cv2.imread(str(out / "overlays" / f"drive_{index:06d}.jpg"))[:96, :130]
        assert np.abs(frame.astype(int) - still).mean() < 12, "equal except for compression artefacts"
    assert not capture.read()[0]


def test_limit_and_masks_only(tmp_path, random_weights, video):
    out = tmp_path / "out"
    assert predict(video, random_weights, out, "--limit", "2", "--no-overlay", "--input-size", "64x96") == 0
    assert names(out) == ["masks", "summary.json"]
    assert len(names(out / "masks")) == 2
    assert summary(out)["network_sizes"] == [[64, 96]]


def test_unreadable_image_is_named_and_the_others_are_processed(tmp_path, random_weights, image_folder, capsys):
    (image_folder / "street1.png").write_text("no image")
    out = tmp_path / "out"
    assert predict(image_folder, random_weights, out) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("warning" in line and "street1.png" in line for line in lines)
    assert lines[-1].startswith("lsabinet: error: 1 of 3 images could not be read")
    assert names(out / "masks") == ["street0.png", "street2.png"]
    assert summary(out)["unreadable"] == [str(image_folder / "street1.png")]


def test_a_file_name_that_is_too_long_is_skipped(tmp_path, random_weights, image_folder, capsys):
    """The mask of a file whose stem is not unique keeps the full file name, which the new suffix makes too long."""
    content = (image_folder / "street0.png").read_bytes()
    long = "n" * 251
    for suffix in (".png", ".jpg"):
        (image_folder / f"{long}{suffix}").write_bytes(content)
    (image_folder / f"{'m' * 251}.png").write_bytes(content)
    out = tmp_path / "out"
    assert predict(image_folder, random_weights, out) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "warning" in line and long in line]) == 2
    assert lines[-1].startswith("lsabinet: error: 2 of 6 images could not be segmented or written, the first: ")
    done = [f"{'m' * 251}.png", "street0.png", "street1.png", "street2.png"]
    assert names(out / "masks") == done
    assert len(names(out / "overlays")) == 4
    assert sorted(summary(out)["failed"]) == [f"{long}_jpg", f"{long}_png"]
    assert summary(out)["frames"] == 4


def test_an_image_too_large_for_jpeg_is_skipped(tmp_path, random_weights, image_folder, capsys):
    cv2.imwrite(str(image_folder / "panorama.png"), np.zeros((2, 65600, 3), np.uint8))
    out = tmp_path / "out"
    assert predict(image_folder, random_weights, out, "--input-size", "64x96") == 1
    assert "2x65600 cannot be written as .jpg" in capsys.readouterr().err.splitlines()[-1]
    assert summary(out)["frames"] == 3
    assert list(summary(out)["failed"]) == ["panorama"]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, random_weights, image_folder, monkeypatch, capsys):
    def write_bytes(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert predict(image_folder, random_weights, tmp_path / "out") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("lsabinet: error: ")
    assert os.strerror(errno.ENOSPC) in last
    assert "legend.png" in last


def test_an_incomplete_overlay_video_is_an_error(tmp_path):
    """The encoder does not report write errors; a file size limit simulates the full disk."""
    program = """
import resource, sys
import numpy as np
from lsabinet_core.cli.overlay_video import OverlayVideo
from lsabinet_core.errors import FrameError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
random = np.random.default_rng(0)
try:
    with OverlayVideo(sys.argv[1], 10) as video:
        for _ in range(30):
            video.write(random.integers(0, 256, (96, 128, 3), np.uint8))
except FrameError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "overlay.mp4")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=120, check=True)
    assert "overlay.mp4: " in finished.stdout
    assert "of 30 frames could be written" in finished.stdout
    assert names(tmp_path) == []


def test_a_video_that_ends_early_is_reported(tmp_path, random_weights, video, capsys):
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    out = tmp_path / "out"
    assert predict(video, random_weights, out, "--no-overlay") == 3
    frames = summary(out)["frames"]
    assert 0 < frames < 7 == summary(out)["declared_frames"]
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "drive.avi declares 7 frames" in warning
    assert f" {frames} could be decoded" in warning


class FakeCamera:
    """Returns frames without end, or until a Ctrl-C at frame ``interrupt_at``."""

    interrupt_at = None

    def __init__(self, _):
        self.frames = 0

    def isOpened(self):  # OpenCV's name
        return True

    def get(self, _):
        return 30.0

    def read(self):
        if self.frames == self.interrupt_at:
            raise KeyboardInterrupt
        self.frames += 1
        return True, np.full((96, 128, 3), self.frames, np.uint8)

    def release(self):
        pass


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("masks", "masks/street0.png"),
        ("overlays/street1.jpg", "overlays/street1.jpg"),
        ("overlay.mp4", "overlay.mp4"),
        (".", "legend.png"),
    ],
)
def test_results_never_replace_the_input(tmp_path, random_weights, image_folder, capsys, source, kept):
    (tmp_path / kept).parent.mkdir(exist_ok=True)
    shutil.copy(image_folder / "street0.png", tmp_path / kept)
    before = (tmp_path / kept).read_bytes()
    assert predict(tmp_path / source, random_weights, tmp_path) == 1
    assert "would replace the input" in capsys.readouterr().err
    assert (tmp_path / kept).read_bytes() == before
    assert names(tmp_path) == sorted(["images", Path(kept).parts[0]])


def test_camera_until_the_limit(tmp_path, random_weights, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    assert predict("0", random_weights, tmp_path, "--limit", "3") == 0
    assert len(names(tmp_path / "masks")) == 3
    assert summary(tmp_path)["kind"] == "camera"


def test_camera_until_ctrl_c(tmp_path, random_weights, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(FakeCamera, "interrupt_at", 4)
    assert predict("0", random_weights, tmp_path) == 0
    assert len(names(tmp_path / "masks")) == len(names(tmp_path / "overlays")) == 4
    assert summary(tmp_path)["frames"] == 4
    assert summary(tmp_path)["interrupted"]


def test_ctrl_c_in_a_video_keeps_the_written_results(tmp_path, random_weights, noise_image):
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    frame = noise_image(1, (96, 128))
    for _ in range(3000):
        writer.write(frame)
    writer.release()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lsabinet_core.cli", "predict", path, "--weights", random_weights, "--out", out]
    command += ["--backend", "torch"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
    try:
        deadline = time.monotonic() + 120
        # Once the sixth mask exists, five frames are complete.
        while not (out / "masks" / "long_000005.png").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert summary(out)["interrupted"]
    assert 5 <= summary(out)["frames"] < 3000
    assert len(names(out / "masks")) >= summary(out)["frames"]
    assert cv2.VideoCapture(str(out / "overlay.mp4")).read()[0]
    assert not [name for name in names(out) if ".tmp" in name]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no video", "broken.mp4 is not a video (or image) that can be read"),
        ("no input", "no input"),
        ("empty folder", "holds no image"),
        ("text as weights", "weights.safetensors"),
        ("no weights", "no weights 'nothing'"),
        ("out is a file", "expected a folder, got a file"),
        ("no gpu", "PyTorch finds no CUDA GPU here"),
        ("precision", "expected precision to be"),
        ("small input", "at least 64x64"),
    ],
)
def test_errors_are_one_line(tmp_path, random_weights, image_folder, monkeypatch, capsys, case, message):
    source, weights, out, options = image_folder, random_weights, tmp_path / "out", []
    if case == "no video":
        source = tmp_path / "broken.mp4"
        source.write_text("no video\n" * 100)
    elif case == "no input":
        source = tmp_path / "missing"
    elif case == "empty folder":
        source = tmp_path / "empty"
        source.mkdir()
    elif case == "text as weights":
        weights = tmp_path / "weights.safetensors"
        weights.write_text("this is not a weights file\n" * 100)
    elif case == "no weights":
        weights = "nothing"
    elif case == "out is a file":
        out.write_text("")
    elif case == "no gpu":
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        options = ["--device", "cuda"]
    elif case == "precision":
        options = ["--precision", "int8"]
    elif case == "small input":
        options = ["--input-size", "32x64"]
    assert predict(source, weights, out, *options) == 1
    captured = capsys.readouterr()
    [line] = captured.err.strip().splitlines()
    assert line.startswith("lsabinet: error: ")
    assert message in line
    assert not out.is_dir(), "nothing was written"


def test_from_the_shell_without_a_traceback(tmp_path, random_weights):
    source = tmp_path / "broken.mp4"
    source.write_text("no video\n" * 100)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lsabinet_core.cli", "predict", source, "--weights", random_weights, "--out", out]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=120, check=False)
    assert finished.returncode == 1
    assert finished.stderr == f"lsabinet: error: {source} is not a video (or image) that can be read\n"
    assert finished.stdout == ""


@pytest.mark.parametrize("option", ["--input-size=360", "--input-size=axb", "--limit=0", "--threads=-1"])
def test_usage_errors(tmp_path, random_weights, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        predict(tmp_path, random_weights, tmp_path, option)
    assert "expected" in capsys.readouterr().err
