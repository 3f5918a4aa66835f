"""The number of usable cores respects the CPU affinity and the CPU quotas of nested control groups, version 1 and 2."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from lsabinet_core import cores
from lsabinet_core.cores import cpu_quota

V2 = "cgroup2"


def a_process(tmp_path: Path, hierarchy: str, group: str, limits: dict[str, str], *, root: str = "/") -> Path:
    """Create a folder like /proc/PID for a process in ``group`` of a hierarchy mounted in ``tmp_path``.

    Args:
        hierarchy: ``cgroup2``, or the controllers of version 1.
        group: path of the group, as in ``/proc/self/cgroup``.
        limits: contents of the groups' files, by path below the mount point.
        root: root of the mount; not "/" in a container without a cgroup namespace of its own.
    """
    point = tmp_path / "control groups"
    point.mkdir()
    for name, content in limits.items():
        file = point / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    escaped = str(point).replace(" ", r"\040")
    kind, options = (V2, "rw") if hierarchy == V2 else ("cgroup", f"rw,{hierarchy}")
    process = tmp_path / "process"
    process.mkdir()
    (process / "mountinfo").write_text(
        "22 1 0:21 / / rw - ext4 /dev/root rw\n"
        f"31 23 0:9 / {tmp_path}/cpuset rw - cgroup cgroup rw,cpuset\n"
        f"32 23 0:28 {root} {escaped} rw,nosuid shared:9 - {kind} {kind} {options}\n"
    )
    line = f"0::{group}" if hierarchy == V2 else f"4:{hierarchy}:{group}"
    (process / "cgroup").write_text(f"7:cpuset:/elsewhere\n{line}\n")
    return process


def version_1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}cpu.cfs_quota_us": str(quota), f"{folder}cpu.cfs_period_us": str(period)}


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("/", {"cpu.max": "100000 100000"}, 1),
        ("/", {"cpu.max": "50000 100000"}, 0.5),
        ("/", {"cpu.max": "max 100000"}, None),
        ("/", {}, None),
        ("/pod/container", {"pod/container/cpu.max": "400000 100000", "pod/cpu.max": "150000 50000"}, 3),
        ("/pod/container", {"pod/container/cpu.max": "max 100000", "pod/cpu.max": "250000 100000"}, 2.5),
        # A group whose folder is not visible, and a file in an unknown format.
        ("/gone", {"cpu.max": "200000 100000"}, 2),
        ("/new", {"new/cpu.max": "as much as there is", "cpu.max": "200000 100000"}, 2),
        # The limit of a sibling group does not apply.
        ("/a", {"b/cpu.max": "100000 100000", "a/cpu.max": "300000 100000"}, 3),
    ],
)
def test_quota_of_version_2(tmp_path, group, limits, expected):
    assert cpu_quota(a_process(tmp_path, V2, group, limits)) == expected


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("/", version_1("", 150_000), 1.5),
        ("/", version_1("", -1), None),
        ("/docker/id", {**version_1("docker/id/", 400_000), **version_1("docker/", 200_000)}, 2),
        ("/docker/id", {**version_1("docker/id/", 25_000, 50_000), **version_1("docker/", -1)}, 0.5),
    ],
)
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_quota_of_version_1(tmp_path, controllers, group, limits, expected):
    assert cpu_quota(a_process(tmp_path, controllers, group, limits)) == expected


@pytest.mark.parametrize("group", ["/docker/id", "/docker/id/inner", "/../../docker/id"])
def test_quota_in_a_container_that_sees_the_path_on_the_host(tmp_path, group):
    process = a_process(tmp_path, "cpu,cpuacct", group, version_1("", 200_000), root="/docker/id")
    assert cpu_quota(process) == 2


def test_other_systems_have_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("visible", "quota", "usable", "asked", "library"),
    [
        (8, None, 8, 0, 0),
        (8, None, 8, 20, 8),
        (8, 2.5, 3, 0, 3),
        (8, 2.5, 3, 2, 2),
        (8, 0.5, 1, 0, 1),
        (8, 0.5, 1, 6, 1),
        (2, 16.0, 2, 0, 0),
    ],
)
def test_the_smaller_of_affinity_and_quota_applies(monkeypatch, visible, quota, usable, asked, library):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(visible)))
    monkeypatch.setattr(cores, "_quota_of_this_process", lambda: quota)
    assert cores.usable_cores() == usable
    assert cores.threads_for_engine(asked) == library


COUNT_IN_EVERY_LIBRARY = """
import json, sys
import cv2, numpy as np, torch
from lsabinet_core.cores import usable_cores, visible_cores
from lsabinet_core.inference import Segmenter
from lsabinet_core.training.batches import choose_workers
frame = np.zeros((96, 128, 3), np.uint8)
found = {"usable": usable_cores(), "visible": visible_cores(), "workers": choose_workers(None, torch.device("cuda"))}
for backend in ("openvino", "onnxruntime", "torch"):
    with Segmenter.from_pretrained(sys.argv[1], backend=backend) as segmenter:
        segmenter.segment(frame)
        found[backend] = segmenter._backend.threads if backend != "torch" else torch.get_num_threads()
        if backend == "openvino":
            found["compiled"] = segmenter._backend._compiled((1, 96, 128)).get_property("INFERENCE_NUM_THREADS")
found["cv2"] = cv2.getNumThreads()
print(json.dumps(found))
"""


@pytest.fixture
def one_core():
    """A real control group without a limit, nested in one with a limit of one core; skips if it cannot be created."""
    parent = None
    for root in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup"):
        parent = Path(root) / f"lsabinet-{uuid.uuid4().hex[:8]}"
        try:
            (parent / "inner").mkdir(parents=True)
            if root == "/sys/fs/cgroup":
                (parent / "cgroup.subtree_control").write_text("+cpu")
                (parent / "cpu.max").write_text("100000 100000")
            else:
                (parent / "cpu.cfs_quota_us").write_text("100000")
            break
        except OSError:
            _remove(parent)
            parent = None
    if parent is None:
        pytest.skip("cannot create a control group here: this requires root and a writable /sys/fs/cgroup")
    yield parent / "inner"
    _remove(parent)


def _remove(parent: Path) -> None:
    for group in (parent / "inner", parent):
        if group.is_dir():
            group.rmdir()


# A process of real-time priority, which encoders of video set if they may, cannot join a group.
JOIN = """
import os, sys
group, *command = sys.argv[1:]
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
with open(group + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
os.execv(command[0], command)
"""


def test_every_library_respects_a_real_quota(one_core, random_weights):
    command = [sys.executable, "-c", JOIN, one_core, sys.executable, "-c", COUNT_IN_EVERY_LIBRARY, random_weights]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    visible = found.pop("visible")
    assert visible == len(os.sched_getaffinity(0))
    expected = dict.fromkeys(["usable", "workers", "torch", "cv2"], 1)
    # On a machine with a single core, the quota changes nothing, and the engines keep their defaults.
    engines = dict.fromkeys(["openvino", "onnxruntime"], 1 if visible > 1 else 0)
    assert found == {**expected, **engines, "compiled": 1}
