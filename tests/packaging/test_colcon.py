"""`colcon build` of the checkout in a workspace, and the package in a shell that has sourced the workspace."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, copy_checkout, environment):
    """A workspace in which lsabinet_ros has been built."""
    folder = tmp_path_factory.mktemp("workspace")
    copy_checkout(folder / "src/lsabinet_ros")
    command = [sys.executable, "-m", "colcon", "build", "--packages-select", "lsabinet_ros"]
    result = subprocess.run(
        [*command, "--event-handlers", "console_direct+"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def sourced(workspace, environment):
    """Environment variables of a shell that has sourced the workspace, with the Python of the tests as python3."""
    variables = environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}
    script = "source install/setup.bash && env -0"
    result = subprocess.run(["bash", "-c", script], cwd=workspace, env=variables, capture_output=True, check=True)
    return dict(entry.split("=", 1) for entry in result.stdout.decode().split("\0") if entry)


@pytest.fixture
def run(sourced, tmp_path):
    def run(*command: str | Path) -> str:
        result = subprocess.run(
            command, env=sourced, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def test_package_type_is_ament_python(workspace, environment):
    command = [sys.executable, "-m", "colcon", "list"]
    listing = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=True)
    name, _, kind = listing.stdout.split()
    assert (name, kind) == ("lsabinet_ros", "(ros.ament_python)")


def test_python_finds_both_packages_and_their_files(workspace, run):
    prefix = workspace / "install/lsabinet_ros"
    code = """
import lsabinet_core, lsabinet_ros
from lsabinet_core.share import share_directory
print(lsabinet_core.__file__, lsabinet_ros.__file__, share_directory())
"""
    *modules, share = run("python3", "-c", code).split()
    assert all(Path(module).is_relative_to(prefix) for module in modules)
    assert Path(share) == prefix / "share/lsabinet_ros"
    for name in ("package.xml", "launch/segment.launch.py", "config/segment.param.yaml", "config/fastdds.xml"):
        assert (Path(share) / name).is_file()


def test_ros_finds_the_package(workspace, run):
    code = "from ament_index_python.packages import get_package_prefix; print(get_package_prefix('lsabinet_ros'))"
    assert Path(run("python3", "-c", code).strip()) == workspace / "install/lsabinet_ros"


def test_executables_are_in_the_folder_of_ros2_run(workspace, run):
    folder = workspace / "install/lsabinet_ros/lib/lsabinet_ros"
    assert sorted(path.name for path in folder.iterdir()) == ["lsabinet", "segmentation"]
    assert all(os.access(path, os.X_OK) for path in folder.iterdir())
    assert "usage: lsabinet" in run(folder / "lsabinet", "--help")


def test_the_node_runs_with_the_python_of_the_shell(workspace, sourced, start_and_interrupt):
    executable = workspace / "install/lsabinet_ros/lib/lsabinet_ros/segmentation"
    arguments = start_and_interrupt([str(executable)], sourced)
    assert Path(arguments[0]).name == "python3"
    assert arguments[1:3] == ["-m", "lsabinet_ros.segmentation_node"]


@pytest.mark.skipif(shutil.which("ros2") is None, reason="only a ROS distribution has the command ros2")
def test_ros2_launch(sourced, graph, tmp_path):
    """Launch the node, wait until it is active, and interrupt it; test_segment_launch.py does so without ``ros2``."""
    with subprocess.Popen(
        ["ros2", "launch", "lsabinet_ros", "segment.launch.py", "backend:=torch"],
        env=sourced | graph,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
        deadline.start()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "active: segmenting /image_raw" in line:
                os.killpg(process.pid, signal.SIGINT)
        deadline.cancel()
    output = "".join(lines)
    assert process.returncode == 0, output
    assert "process has finished cleanly" in output, output
    assert "Traceback" not in output, output
