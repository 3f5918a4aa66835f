"""The Python from which the scripts create the environment, and the errors if none is suitable."""

import os
import subprocess

import pytest


@pytest.fixture
def fake_python(tmp_path):
    """Create a stand-in for a Python in a folder that ``find_python`` puts first on the PATH: (name, version,
    has_rclpy, has_venv) -> its path."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name: str, version: str, *, has_rclpy: bool = False, has_venv: bool = True) -> str:
        path = folder / name
        major, minor = version.split(".")
        path.write_text(
            f"""#!/bin/sh
case "$2" in
*_base_executable*) echo "{major}{int(minor):02d} $0" ;;
*version_info*) echo {version} ;;
*"import rclpy"*) exit {int(not has_rclpy)} ;;
*"import venv"*) exit {int(not has_venv)} ;;
*) exit 1 ;;
esac
"""
        )
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def find_python(checkout, tmp_path):
    def run(**variables: str) -> subprocess.CompletedProcess:
        sourced = ("ROS_DISTRO", "PYTHONPATH", "LSABINET_PYTHON")
        own = {name: value for name, value in os.environ.items() if name not in sourced}
        own["PATH"] = f"{tmp_path / 'bin'}:{own['PATH']}"
        command = ["bash", str(checkout / "scripts/find_python.sh")]
        return subprocess.run(command, env=own | variables, capture_output=True, text=True)

    return run


def test_a_python_supported_by_the_wheels_is_selected(fake_python, find_python):
    fake_python("python3", "3.10", has_rclpy=True)
    expected = fake_python("python3.12", "3.12")
    assert find_python().stdout.splitlines() == [expected, "wheels"]


def test_a_python_that_is_too_new_is_skipped(fake_python, find_python):
    fake_python("python3", "3.14")
    fake_python("python3.12", "3.12")
    (expected, _) = find_python().stdout.splitlines()
    assert expected.endswith("python3.12")


def test_a_sourced_distribution_determines_the_python(fake_python, find_python):
    fake_python("python3", "3.11")
    expected = fake_python("python3.10", "3.10", has_rclpy=True)
    fake_python("python3.12", "3.12")
    assert find_python(ROS_DISTRO="humble").stdout.splitlines() == [expected, "distribution"]


def test_a_distribution_without_rclpy_falls_back_to_the_wheels_with_a_message(fake_python, find_python):
    expected = fake_python("only", "3.11")
    result = find_python(ROS_DISTRO="jazzy", LSABINET_PYTHON=expected)
    assert result.stdout.splitlines() == [expected, "wheels"]
    assert "jazzy" in result.stderr


def test_python_3_10_without_ros_is_a_one_line_error(fake_python, find_python):
    result = find_python(LSABINET_PYTHON=fake_python("only", "3.10"))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "expected Python 3.11 or 3.12" in line
    assert "found 3.10" in line


def test_a_named_python_that_does_not_run_is_a_one_line_error(find_python):
    result = find_python(LSABINET_PYTHON="/nowhere/python3")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "/nowhere/python3" in line


@pytest.mark.parametrize("script", ["demo.sh", "test.sh"])
def test_the_error_for_a_missing_venv_names_the_package_to_install(copy_checkout, fake_python, tmp_path, script):
    python = fake_python("only", "3.11", has_venv=False)
    copy = copy_checkout(tmp_path / "checkout")
    variables = {name: value for name, value in os.environ.items() if name != "ROS_DISTRO"}
    result = subprocess.run(
        ["bash", str(copy / "scripts" / script)],
        env=variables | {"LSABINET_PYTHON": python},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "apt install python3-venv" in line


def test_scripts_are_valid_shell(checkout):
    scripts = [*(checkout / "scripts").glob("*.sh"), checkout / ".ci/run", checkout / "scripts/segmentation"]
    assert len(scripts) == 9
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
        if script.name != "environment.sh":
            assert os.access(script, os.X_OK), f"{script.name} is not executable"
