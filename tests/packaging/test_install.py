"""`pip install .` into a new environment: Python, the shell and ROS find the installed package."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import pytest

WEIGHTS = ("lsabinet_camvid", "lsabinet_camvid_train", "lsabinet_synthetic")
# Run before anything else, this code simulates a machine without ROS and without libraries for bags.
WITHOUT_ROS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root in ("rclpy", "rosbags", "mcap", "cv_bridge", "launch", "launch_ros", "ament_index_python") or (
            root.endswith(("_msgs", "_interfaces"))
        ):
            raise ModuleNotFoundError(f"No module named '{root}' (made absent)", name=root)

sys.meta_path.insert(0, Absent())
"""


COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def installed(tmp_path_factory, copy_checkout, environment):
    """An environment that contains only the package, and uses the libraries of the Python that runs the tests."""
    prefix = tmp_path_factory.mktemp("prefix") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], env=environment, check=True)
    paths = {"base": str(prefix), "platbase": str(prefix)}
    own = Path(sysconfig.get_path("purelib", "venv" if "venv" in sysconfig.get_scheme_names() else None, paths))
    outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    own.joinpath("outer.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(outer)))
    source = copy_checkout(tmp_path_factory.mktemp("source") / "checkout")
    command = [prefix / "bin/python", "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation"]
    result = subprocess.run(
        [*command, "--ignore-installed", source],
        env=environment | {"LSABINET_COMMIT": f"{COMMIT}-dirty"},
        cwd=prefix,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return prefix


@pytest.fixture
def run(installed, environment, tmp_path):
    """Run a program of that environment in an empty folder: (program, arguments...) -> standard output."""

    def run(program: str, *arguments: str, **variables: str) -> str:
        result = subprocess.run(
            [installed / "bin" / program, *arguments],
            env=environment | variables,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def files_below(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    relative = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: path.read_bytes()
        for name, path in relative.items()
        if not any(part.startswith((".", "__pycache__")) for part in name.split("/"))
    }


def test_code_and_shared_files_come_from_the_environment(installed, run):
    code = "import lsabinet_core, lsabinet_ros\nprint(lsabinet_core.__file__)\nprint(lsabinet_ros.__file__)"
    for path in run("python", "-c", code).split():
        assert Path(path).is_relative_to(installed)
    share = run("python", "-c", "from lsabinet_core.share import share_directory; print(share_directory())").strip()
    assert Path(share) == installed / "share/lsabinet_ros"


def test_packages_are_marked_as_typed(run):
    code = "import lsabinet_core, lsabinet_ros\nprint(lsabinet_core.__file__)\nprint(lsabinet_ros.__file__)"
    markers = [Path(path).with_name("py.typed") for path in run("python", "-c", code).split()]
    assert len(markers) == 2
    assert all(marker.is_file() for marker in markers)


@pytest.mark.parametrize("folder", ["launch", "config", "weights"])
def test_every_shared_file_is_installed(installed, checkout, folder):
    expected = files_below(checkout / folder)
    assert expected
    assert files_below(installed / "share/lsabinet_ros" / folder) == expected


@pytest.mark.parametrize("name", WEIGHTS)
def test_shipped_weights_are_loaded_by_name(run, name):
    code = f"""
from lsabinet_core.models.weights import load_weights
model, metadata = load_weights({name!r})
print(metadata.architecture, metadata.licence and "licensed")
"""
    assert run("python", "-c", code).split() == ["lsabinet", "licensed"]


def test_the_installed_package_knows_its_commit(run):
    program = "from lsabinet_core.commit import source_state; print(source_state())"
    assert run("python", "-c", program) == f"{{'git_commit': '{COMMIT}', 'git_changed': True}}\n"


def test_command_line(run, checkout):
    version = ElementTree.parse(checkout / "package.xml").findtext("version")
    assert run("lsabinet", "--version").strip() == version
    text = run("lsabinet", "--help")
    for verb in ("models", "train", "evaluate", "predict", "bag", "demo"):
        assert f"\n    {verb} " in text


def test_doctor_includes_the_sections_about_ros(run):
    document = json.loads(run("lsabinet", "doctor", "--json"))
    assert document["lsabinet"]["commit"] == COMMIT
    assert document["shared_memory"]["folder"] == "/dev/shm"
    assert "error" not in document["ros"]


def test_core_and_command_line_work_without_ros(run):
    code = """
import importlib, pkgutil
import lsabinet_core
from lsabinet_core.cli import main

for module in pkgutil.walk_packages(lsabinet_core.__path__, "lsabinet_core."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
"""
    assert "usage: lsabinet" in run("python", "-c", WITHOUT_ROS + code)


def test_ros_finds_the_package(installed, run):
    code = """
from ament_index_python.packages import get_package_prefix, get_package_share_directory
print(get_package_prefix("lsabinet_ros"))
print(get_package_share_directory("lsabinet_ros"))
"""
    prefix, share = run("python", "-c", code, AMENT_PREFIX_PATH=str(installed)).split()
    assert Path(prefix) == installed
    manifest = ElementTree.parse(Path(share) / "package.xml")
    assert manifest.findtext("name") == "lsabinet_ros"
    assert (Path(share) / "launch/segment.launch.py").is_file()


def test_executable_runs_the_node_of_the_environment(installed, environment, start_and_interrupt):
    executable = installed / "lib/lsabinet_ros/segmentation"
    assert os.access(executable, os.X_OK)
    arguments = start_and_interrupt([str(executable)], environment)
    assert arguments[:3] == [str(installed / "bin/python3"), "-m", "lsabinet_ros.segmentation_node"]
