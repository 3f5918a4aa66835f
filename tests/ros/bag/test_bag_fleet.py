"""Many bags in several processes: merged exactly, resumed without repetition, and not ended by a killed worker."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from bag_cases import run_cli, samples, start_cli, write

from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID
from lsabinet_ros.bag import fleet
from lsabinet_ros.bag.fleet import find_bags

DEADLINE_S = 120.0


class Listed:
    """Samples as a data set, for the core's evaluation."""

    name, split, label_set = "listed", "val", CAMVID

    def __init__(self, found):
        self._samples = found

    def __len__(self):
        return len(self._samples)

    def sample(self, index):
        return self._samples[index]


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Three bags of different lengths in a folder, and all their samples."""
    folder = tmp_path_factory.mktemp("fleet") / "drives"
    (folder / "deeper").mkdir(parents=True)
    frames = samples(6)
    write(folder / "a.mcap", frames[:1])
    write(folder / "b", frames[1:3])
    write(folder / "deeper" / "a.db3", frames[3:])
    return folder, frames


@pytest.fixture
def options(weights, tmp_path):
    return ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out", "--workers", 2)


def read(folder):
    return json.loads((folder / "report.json").read_text())


def done_times(out):
    return {file: file.stat().st_mtime_ns for file in out.glob("bags/*/done.json")}


def test_the_merged_report_is_that_of_all_frames(tmp_path, drives, options, weights, capsys):
    folder, frames = drives
    # One span contains the first frame of each bag, the other one contains no frame.
    (tmp_path / "spans.yaml").write_text("- {name: start, from: 0, to: 0.01}\n- {name: later, from: 60, to: 90}\n")
    metrics = ("--boundary", "2", "--calibration", "--temporal", "--against", "precision=fp32")
    assert run_cli("evaluate", folder, *options, *metrics, "--spans", tmp_path / "spans.yaml") == 0
    assert "'later'" in capsys.readouterr().err
    merged = read(tmp_path / "out")
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch", threads=1) as segmenter:
        direct = evaluate(segmenter, Listed(frames), boundary_tolerance_px=2, calibration=True).to_dict()
        starts = evaluate(segmenter, Listed([frames[i] for i in (0, 1, 3)])).to_dict()
    assert merged["confusion_matrix"] == direct["confusion_matrix"]
    assert merged["miou"] == direct["miou"]
    assert merged["boundary_f"]["mean"] == pytest.approx(direct["boundary_f"]["mean"])
    for key in ("ece", "mean_confidence"):
        assert merged["calibration"][key] == pytest.approx(direct["calibration"][key])
    parts = [read(folder) for folder in (tmp_path / "out" / "bags").iterdir()]
    consistency = np.sum([part["temporal_consistency"]["confusion_matrix"] for part in parts], axis=0)
    assert merged["temporal_consistency"]["confusion_matrix"] == consistency.tolist()
    agreement = np.sum([part["agreement"]["confusion_matrix"] for part in parts], axis=0)
    assert merged["agreement"]["confusion_matrix"] == agreement.tolist()
    assert (merged["agreement"]["pixels"], merged["agreement"]["identical_frames"]) == (1, 6)
    assert merged["against"]["confusion_matrix"] == direct["confusion_matrix"]
    assert merged["against"]["latency_ms"]["total"]["count"] == 6
    start = merged["spans"]["start"]
    assert (start["confusion_matrix"], start["miou"]) == (starts["confusion_matrix"], starts["miou"])
    assert (start["frames"], start["latency_ms"]["total"]["count"], merged["spans"]["later"]["frames"]) == (3, 3, 0)
    assert start["against"]["latency_ms"]["total"]["count"] == start["agreement"]["identical_frames"] == 3
    assert (merged["frames"], merged["labelled_frames"], merged["latency_ms"]["total"]["count"]) == (6, 6, 6)
    blocks = np.sum([block["confusion_matrix"] for block in merged["blocks"]], axis=0)
    assert blocks.tolist() == direct["confusion_matrix"]
    # The first frames of the bags are in a span, the others are not.
    assert [block["source"] for block in merged["blocks"]] == [0, 1, 1, 2, 2]
    assert [entry["status"] for entry in merged["per_bag"]] == [0, 0, 0]
    text = (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    for entry in merged["per_bag"]:
        address = f"bags/{Path(entry['folder']).name}/report.html"
        assert f"({address})" in text
        assert f'href="{address}"' in page
    assert run_cli("compare", tmp_path / "out", tmp_path / "out", "--max-miou-drop", 0) == 0


def test_resume_only_evaluates_what_is_not_finished(tmp_path, drives, options):
    folder, _ = drives
    bags = [shutil.copy(folder / "a.mcap", tmp_path / f"{name}.mcap") for name in ("one", "two")]
    out = tmp_path / "out"
    assert run_cli("evaluate", bags[0], *options) == 0
    before = done_times(out)
    assert run_cli("evaluate", *bags, *options, "--resume") == 0
    after = done_times(out)
    assert len(after) == 2
    assert {file: after[file] for file in before} == before
    whole = read(out)
    # A half-written report, and reports of another bag or of other options, do not count as finished.
    (broken,) = set(after) - set(before)
    (broken.parent / "report.json").write_text('{"schema_version": 1, "mi')
    assert run_cli("evaluate", *bags, *options, "--resume") == 0
    again = done_times(out)
    assert again[broken] > after[broken]
    assert {file: again[file] for file in before} == before
    assert read(out)["confusion_matrix"] == whole["confusion_matrix"]
    os.utime(bags[0])
    assert run_cli("evaluate", *bags, *options, "--resume") == 0
    (kept,) = before
    assert done_times(out)[kept] > before[kept]


def test_a_changed_file_of_the_options_is_another_run(tmp_path, drives):
    file = tmp_path / "spans.yaml"
    file.write_text("- {name: a, from: 0, to: 1}")
    options = ("--spans", str(file), "--limit", "2")
    before = fleet._state_of(drives[0] / "a.mcap", options)
    assert fleet._state_of(drives[0] / "a.mcap", options) == before
    file.write_text("- {name: a, from: 0, to: 10}")
    assert fleet._state_of(drives[0] / "a.mcap", options) != before


def test_a_changed_folder_of_labels_is_another_run(tmp_path, drives):
    label = tmp_path / "labels" / "1700000000.0.png"
    label.parent.mkdir()
    label.write_bytes(b"1")
    options = ("--labels", str(label.parent), "--label-topic", "")
    before = fleet._state_of(drives[0] / "a.mcap", options)
    assert len(before["files"]) == 2
    label.write_bytes(b"12")
    assert fleet._state_of(drives[0] / "a.mcap", options) != before


def test_a_bag_that_cannot_be_evaluated_keeps_the_others(tmp_path, drives, options, error_of):
    folder, _ = drives
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no bag")
    message = error_of(run_cli, "evaluate", folder / "a.mcap", broken, *options)
    assert "1 of 2 bags" in message
    assert str(broken) in message
    report = read(tmp_path / "out")
    assert report["frames"] == 1
    assert [entry["status"] for entry in report["per_bag"]] == [0, 1]


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid):
    """Whether a process exists and is no zombie, which has ended but waits for its parent to read its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_is_started_again_and_a_killed_run_is_resumed(tmp_path, drives, options):
    folder, frames = drives
    process = start_cli("evaluate", folder / "deeper" / "a.db3", *options)
    deadline = time.monotonic() + DEADLINE_S
    while not (workers := children_of(process.pid)):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert read(tmp_path / "out")["frames"] == 3
    # The whole run is killed, and its workers end before they have a report.
    process = start_cli("evaluate", folder, *options, "--resume")
    while len(workers := children_of(process.pid)) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(list((tmp_path / "out" / "bags").glob("*/report.json"))) == 1
    assert run_cli("evaluate", folder, *options, "--resume") == 0
    assert read(tmp_path / "out")["frames"] == len(frames)


def test_find_bags(tmp_path, drives, error_of):
    folder, _ = drives
    found = [path.relative_to(folder).as_posix() for path in find_bags([folder, folder / "a.mcap"])]
    assert found == ["a.mcap", "b", "deeper/a.db3"]
    # A rosbag2 that has lost its metadata.yaml is still one bag.
    lost = tmp_path / "b"
    shutil.copytree(folder / "b", lost)
    (lost / "metadata.yaml").unlink()
    assert find_bags([lost]) == [lost]
    # The outputs of an earlier run, or of a killed one, are not drives.
    drives_folder = tmp_path / "drives"
    for name in ("report/bags/a", ".outputs.1.tmp", "."):
        (drives_folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "a.mcap", drives_folder / name / "outputs.mcap")
    (drives_folder / "report" / "report.json").touch()
    assert find_bags([drives_folder]) == [drives_folder / "outputs.mcap"]
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in error_of(find_bags, [tmp_path / "empty"])


def test_resume_needs_workers(tmp_path, drives, weights, error_of):
    options = ("--weights", weights, "--out", tmp_path / "out", "--resume")
    assert "--workers" in error_of(run_cli, "evaluate", drives[0] / "a.mcap", *options)
