"""The demonstration as a user runs it, with separate processes, and what happens when one of them is killed."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer

from lsabinet_core.cli import main
from lsabinet_core.data.sample import Sample
from lsabinet_core.inference.backends import list_backends
from lsabinet_ros.bag.writer import BagSettings, make_bag
from lsabinet_ros.demo import session

FRAMES, RATE, SIZE = 24, 10, (64, 96)
STAGES = ("wait", "decode", "preprocess", "inference", "postprocess", "publish", "processing", "pipeline")


class Drive:
    """Frames of noise, optionally with labels."""

    count = FRAMES
    rate = Fraction(RATE)

    def __init__(self, labelled: bool):
        self._labelled = labelled

    def __iter__(self):
        rng = np.random.default_rng(3)
        for index in range(FRAMES):
            image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
            label = rng.integers(0, 11, SIZE, np.uint8) if self._labelled else None
            yield Sample(image, label, str(index))


def write_bag(path: Path, labelled: bool = True, **settings) -> Path:
    make_bag(Drive(labelled), path, rate=Fraction(RATE), start_ns=10**18, settings=BagSettings(**settings))
    return path


def command(*arguments) -> list[str]:
    program = "import sys; from lsabinet_core.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, "demo", "--backend", "torch", *map(str, arguments)]


def demo(*arguments) -> subprocess.CompletedProcess:
    """Run the command in this process to save time; the node and the player have their own processes anyway."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(["demo", "--backend", "torch", *map(str, arguments)])
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def children(process: subprocess.Popen, text: str) -> list[int]:
    """Process ids of the children whose command line contains ``text``."""
    found = []
    for task in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((task / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == process.pid and text in (task / "cmdline").read_text():
                found.append(int(task.name))
    return found


@pytest.fixture(scope="module")
def finished(module_ros_domain, weights_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    bag = write_bag(folder / "drive.mcap")
    arguments = (bag, "--weights", weights_file, "--out", folder / "out", "--device", "cpu")
    result = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return folder / "out", result.stdout


def test_summary_adds_up(finished):
    out, _ = finished
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_sent"] == FRAMES
    # 0, unless the machine stalls for longer than the period of the frames.
    assert summary["frames_lost_in_transport"] == FRAMES - summary["frames_received"] <= 2
    assert summary["frames_received"] == summary["frames_published"] + summary["frames_dropped"]
    assert summary["masks_received"] == summary["frames_published"] > 0
    assert summary["duplicate_masks"] == 0
    # On a busy machine, the node may drop frames.
    assert summary["coverage"] >= 0.6
    assert summary["node_exit_status"] == 0
    assert (summary["device"], summary["precision"]) == ("cpu", "fp32")
    assert summary["backend"] in list_backends()
    assert list(summary["latency_ms"]) == list(STAGES)
    for stage in STAGES:
        figures = summary["latency_ms"][stage]
        assert 0 <= figures["p50"] <= figures["p95"] <= figures["p99"]
        assert figures["count"] == summary["frames_published"]
    # Labels and masks are both noise: every mask was compared, and agreement is by chance.
    assert summary["masks_compared"] == summary["masks_received"]
    assert 0 < summary["miou"] < 0.15


def test_video_plot_and_output(finished):
    out, stdout = finished
    assert cv2.imread(str(out / "latency.png")).shape[1] >= 800
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert video.isOpened()
    assert abs(video.get(cv2.CAP_PROP_FRAME_COUNT) - FRAMES) <= 3
    assert (video.get(cv2.CAP_PROP_FRAME_HEIGHT), video.get(cv2.CAP_PROP_FRAME_WIDTH)) == SIZE
    assert len(stdout.splitlines()) < 24
    assert f"{FRAMES} sent, " in stdout
    assert "p99" in stdout


def test_a_compressed_bag_without_labels(ros_domain, weights_file, tmp_path):
    bag = write_bag(tmp_path / "jpeg.mcap", labelled=False, compression="jpeg")
    result = demo(bag, "--weights", weights_file, "--out", tmp_path / "out", "--no-video")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames_received"] >= FRAMES - 2
    assert summary["frames_rejected"] == 0
    assert summary["miou"] is None
    assert not (tmp_path / "out" / "overlay.mp4").exists()


def test_one_camera_of_two(ros_domain, weights_file, tmp_path):
    bag = tmp_path / "two"
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for name in ("left", "right"):
            topics = {"image_topic": f"/{name}/image_raw", "label_topic": f"/{name}/labels"}
            with AnyReader([write_bag(tmp_path / f"{name}.mcap", **topics)]) as reader:
                connections = {
                    connection.topic: writer.add_connection(
                        connection.topic, connection.msgtype, typestore=reader.typestore
                    )
                    for connection in reader.connections
                }
                for connection, timestamp, content in reader.messages():
                    writer.write(connections[connection.topic], timestamp, content)
    arguments = (bag, "--weights", weights_file, "--out", tmp_path / "out", "--no-video")
    message = failure(demo(*arguments))
    assert all(word in message for word in ("/left/image_raw", "/right/image_raw", "--image-topic"))
    result = demo(*arguments, "--image-topic", "/right/image_raw", "--label-topic", "/right/labels")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames_sent"] == FRAMES
    assert summary["masks_compared"] > 0
    assert "--image-topic" in failure(demo("--image-topic", "/a", "--out", tmp_path / "none"))


def test_a_running_camera(ros_domain, weights_file, tmp_path):
    bag = write_bag(tmp_path / "drive.mcap", labelled=False)
    program = "import sys; from lsabinet_core.cli import main; sys.exit(main())"
    play = [sys.executable, "-c", program, "bag", "play", str(bag), "--loop", "--wait", "0", "--restamp"]
    camera = subprocess.Popen(play, stderr=subprocess.DEVNULL)
    try:
        result = demo("/camera/image_raw", "--seconds", "3", "--weights", weights_file, "--out", tmp_path / "out")
        assert camera.poll() is None
    finally:
        camera.kill()
        camera.wait()
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames_received"] >= summary["frames_published"] == summary["masks_received"] > 0
    assert summary["duplicate_masks"] == 0
    assert summary["latency_ms"]["pipeline"]["p50"] > 0


def test_a_topic_without_a_camera(ros_domain, weights_file, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "MATCH_S", 1.0)
    result = demo("/camera/nothing", "--weights", weights_file, "--out", tmp_path / "out")
    message = failure(result)
    assert all(word in message for word in ("/camera/nothing", "1 s"))


def failure(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_bad_weights_fail_with_the_error_of_the_node(ros_domain, tmp_path):
    weights = tmp_path / "notes.safetensors"
    weights.write_text("no weights " * 50)
    bag = write_bag(tmp_path / "drive.mcap")
    message = failure(demo(bag, "--weights", weights, "--out", tmp_path / "out"))
    assert "unconfigured" in message
    assert str(weights) in message


def test_invalid_input(ros_domain, tmp_path, weights_file):
    text = tmp_path / "notes.mp4"
    text.write_text("no video " * 50)
    assert "notes.mp4" in failure(demo(text, "--weights", weights_file, "--out", tmp_path / "out"))
    missing = failure(demo(tmp_path.name + "/missing.mcap", "--out", tmp_path / "out"))
    assert "missing.mcap" in missing


@pytest.mark.parametrize(("victim", "text"), [("node", "segmentation_node"), ("player", "bag\0play")])
def test_kill_9(victim, text, ros_domain, weights_file, tmp_path):
    bag = write_bag(tmp_path / "drive.mcap")
    arguments = (bag, "--weights", weights_file, "--out", tmp_path / "out", "--rate", "0.1")
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not children(process, "bag\0play"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(children(process, text)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    message = failure(subprocess.CompletedProcess(arguments, process.returncode, "", stderr))
    assert victim in message
    assert "signal 9" in message
    assert children(process, "") == []
