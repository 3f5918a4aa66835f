"""Fixtures of the packaging tests: the checkout, a clean copy of it, and a check that a node's executable runs."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from ros_domains import reserved_domain

CHECKOUT = Path(__file__).resolve().parents[2]
GRAPH = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_DOMAIN_ID", "ROS_LOG_DIR")
GENERATED = ("build", "install", "log", "dist", "runs", "demo_output", "__pycache__", "*.egg-info")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return CHECKOUT


@pytest.fixture(scope="session")
def copy_checkout():
    """Copy the checkout without environments, caches and results, like a fresh clone: (folder) -> folder."""

    def copy(folder: Path) -> Path:
        return shutil.copytree(CHECKOUT, folder, ignore=shutil.ignore_patterns(".?*", *GENERATED))

    return copy


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment variables for programs under test: without the checkout on ``PYTHONPATH``, and without the caller's
    ROS workspace."""
    variables = dict(os.environ)
    # The rclpy wheels set this variable once they are set up. The programs use another environment, so they must set
    # up their own.
    variables.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    if "ROS_DISTRO" in variables:
        paths = variables["PYTHONPATH"].split(os.pathsep)
        variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path != str(CHECKOUT))
    else:
        for name in ("PYTHONPATH", "AMENT_PREFIX_PATH"):
            variables.pop(name, None)
    variables["OMP_NUM_THREADS"] = "1"
    return variables


@pytest.fixture
def graph(tmp_path):
    """Environment variables of a ROS graph that only this test uses."""
    with reserved_domain(tmp_path / "log"):
        yield {name: os.environ[name] for name in GRAPH}


@pytest.fixture
def start_and_interrupt(tmp_path, graph):
    """Start the node's executable, wait until the node is on the graph, and interrupt it: (command, environment) ->
    the process's command line in /proc. Fails unless the process exits with status 0."""

    def run(command: list[str], variables: dict[str, str]) -> list[str]:
        output = tmp_path / "output.txt"
        with output.open("w") as stream:
            process = subprocess.Popen(
                command, env=variables | graph, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )
        try:
            _wait_for_node("segmentation", process, output)
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0, output.read_text()
        finally:
            process.kill()
            process.wait()
        return arguments

    return run


def _wait_for_node(name: str, process: subprocess.Popen, output: Path, deadline_s: float = 90) -> None:
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        observer = rclpy.create_node("packaging_test", context=context)
        end = time.monotonic() + deadline_s
        while name not in observer.get_node_names():
            assert process.poll() is None, f"the node exited unexpectedly:\n{output.read_text()}"
            assert time.monotonic() < end, f"no node /{name} after {deadline_s} s:\n{output.read_text()}"
            time.sleep(0.1)
        observer.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
