"""Many bags on a Ray cluster of this machine: as in the local fleet, and not ended by a killed worker."""

import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_cases import run_cli, samples, start_cli, write

from lsabinet_core.errors import BagError
from lsabinet_ros.bag import ray_workers
from lsabinet_ros.bag.fleet import evaluate_fleet
from lsabinet_ros.bag.ray_workers import RayWorkers

DEADLINE_S = 120.0
# A cluster of two CPUs, which ends with its standard input.
CLUSTER = """
import sys
from lsabinet_ros.bag import ray_workers
ray_workers.usable_cores = lambda: 2
with ray_workers.RayWorkers("local", cores=1):
    import ray
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster():
    """Address of a cluster with two CPUs; its token is in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        command = [sys.executable, "-c", CLUSTER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield process.stdout.readline().strip()
            process.communicate(timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """A folder of two bags, the second of which takes longer."""
    folder = tmp_path_factory.mktemp("ray") / "drives"
    frames = samples(8)
    write(folder / "a.mcap", frames[:2])
    write(folder / "b", frames[2:])
    return folder


@pytest.fixture
def options(weights):
    return ("--weights", weights, "--device", "cpu", "--backend", "torch", "--boundary", "2")


def read(folder):
    return json.loads((folder / "report.json").read_text())


def without_times(content):
    """A report without the fields that differ between any two runs, wherever they are."""
    if isinstance(content, dict):
        changing = ("latency_ms", "throughput", "command", "folder")
        return {key: without_times(value) for key, value in content.items() if key not in changing}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def evaluations():
    """By bag, the process that started its evaluation on this machine, and the folder for its report."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, UnicodeDecodeError):
            continue
        if "lsabinet_ros.bag.fleet_worker" in words:
            found[words[words.index("evaluate") + 1]] = parent, Path(words[words.index("--out") + 1])
    return found


def test_a_killed_worker_is_replaced_and_the_report_is_that_of_the_local_fleet(tmp_path, cluster, drives, options):
    process = start_cli("evaluate", drives, *options, "--ray", cluster, "--out", tmp_path / "ray")
    deadline = time.monotonic() + DEADLINE_S
    while (killed := evaluations().get(str(drives / "b"))) is None:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    worker, folder = killed
    os.kill(worker, signal.SIGKILL)
    # It is tried again, by another process of Ray's.
    while evaluations().get(str(drives / "b")) in (None, killed):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, errors
    assert not folder.exists()
    assert run_cli("evaluate", drives, *options, "--threads", 1, "--workers", 2, "--out", tmp_path / "local") == 0
    assert without_times(read(tmp_path / "ray")) == without_times(read(tmp_path / "local"))
    local, remote = (
        {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "local", tmp_path / "ray")
    )
    assert local == remote
    # Finished bags are not evaluated again, here or on the cluster; the others are.
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "ray").glob("bags/*/done.json")}
    first, second = sorted(before)
    second.unlink()
    assert run_cli("evaluate", drives, *options, "--ray", cluster, "--out", tmp_path / "ray", "--resume") == 0
    assert first.stat().st_mtime_ns == before[first]
    assert second.stat().st_mtime_ns > before[second]
    assert without_times(read(tmp_path / "ray")) == without_times(read(tmp_path / "local"))


def test_a_bag_that_cannot_be_evaluated_keeps_the_others(tmp_path, cluster, drives, options, monkeypatch):
    broken = tmp_path / "broken.mcap"
    broken.write_bytes(b"no bag")
    monkeypatch.setattr(ray_workers, "CHUNK", 1000)
    with RayWorkers(cluster, cores=1) as workers:
        found = evaluate_fleet([drives / "a.mcap", broken], tmp_path, [*map(str, options)], workers=workers)
        assert [result.status for result in found] == [0, 1]
        assert "broken.mcap" in found[1].message
        assert read(found[0].folder)["frames"] == 2
        # Workers that run another version of the code are refused.
        monkeypatch.setattr(ray_workers, "version", lambda: "0.0.1 (other)")
        with pytest.raises(BagError, match=r"0\.0\.1 \(other\)") as caught:
            evaluate_fleet([drives / "a.mcap"], tmp_path, [*map(str, options)], workers=workers)
        assert "\n" not in str(caught.value)


def test_an_unreachable_cluster_is_an_error_of_one_line(cluster, monkeypatch, error_of):
    assert "100 CPUs" in error_of(RayWorkers, cluster, cores=100)
    monkeypatch.setattr(ray_workers, "CONNECT_S", 2.0)
    assert "127.0.0.1:1" in error_of(RayWorkers, "127.0.0.1:1", cores=1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "lsabinet_ros[ray]" in error_of(RayWorkers, "local", cores=1)
