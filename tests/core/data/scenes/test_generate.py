"""Rendering of scenes into a folder data set."""

import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from lsabinet_core.data import open_dataset
from lsabinet_core.data.scenes.generate import FIRST_SEED, render_folder
from lsabinet_core.data.scenes.render import render_scene
from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID

SIZE = (72, 96)


def quiet(done, total):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes") / "set"
    assert render_folder(path, {"train": 3, "val": 1}, SIZE, 1, quiet) == 4
    return path


def test_the_folder_opens_as_a_data_set_of_camvids_classes(folder):
    train = open_dataset("folder", folder, "train")
    assert len(train) == 3
    assert train.label_set == CAMVID
    sample = train.sample(1)
    expected = render_scene(FIRST_SEED["train"] + 1, SIZE)
    assert np.array_equal(sample.label, expected.label)
    assert np.abs(sample.image.astype(int) - expected.image).mean() < 4  # JPEG


def test_existing_scenes_are_not_rendered_again(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    assert render_folder(folder, {"train": 4, "val": 1}, SIZE, 1, quiet) == 1
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    assert len(open_dataset("folder", folder, "train")) == 4


def test_another_size_is_rejected(folder):
    with pytest.raises(DatasetError, match="72x96"):
        render_folder(folder, {"train": 4, "val": 1}, (36, 48), 1, quiet)


@pytest.mark.parametrize("size", [(0, 96), (72, 7)])
def test_scenes_that_are_too_small_are_refused_first(tmp_path, size):
    with pytest.raises(DatasetError, match=f"at least 8x8, got {size[0]}x{size[1]}"):
        render_folder(tmp_path / "set", {"train": 1, "val": 1}, size, 1, quiet)
    assert not list(tmp_path.iterdir())
    assert render_scene(1, (8, 8)).image.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset.yaml", b"name: my_streets\nclasses:\n  - {name: road, color: [1, 2, 3]}\n"),
        ("dataset.yaml", b"\x00: ["),
        ("train.txt", b"images/a.png labels/a.png\n"),
        ("val.txt", b"\xff\xfe\xfd"),
    ],
)
def test_files_of_another_data_set_are_kept(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name} is of another data set"):
        render_folder(tmp_path, {"train": 1, "val": 1}, SIZE, 1, quiet)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


def test_a_killed_run_leaves_complete_scenes_and_can_be_continued(tmp_path):
    out = tmp_path / "set"
    command = [sys.executable, "-m", "lsabinet_core.cli", "synthetic", "render", "--out", str(out)]
    command += ["--scenes", "40", "--val-scenes", "1", "--size", "72x96", "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while len(list(out.glob("train_labels/[0-9]*.png"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for label in out.glob("train_labels/[0-9]*.png"):
        assert cv2.imread(str(label), cv2.IMREAD_UNCHANGED).shape == SIZE
        assert cv2.imread(str(out / "train" / f"{label.stem}.jpg")).shape == (*SIZE, 3)
    complete = len(list(out.glob("train_labels/[0-9]*.png")))
    assert render_folder(out, {"train": complete + 1, "val": 1}, SIZE, 1, quiet) >= 1
    assert len(open_dataset("folder", out, "train")) == complete + 1
