"""The sections of ``lsabinet doctor`` about ROS: from variables and metadata alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsabinet_ros import doctor, transport

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_ros_variables(monkeypatch):
    for name in (*doctor.VARIABLES, "RMW_IMPLEMENTATION", *transport.PROFILE_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def test_distribution_middleware_and_profile(monkeypatch, tmp_path):
    plain = doctor.describe_ros()
    assert (plain["ROS_DISTRO"], plain["fast_dds_profile"][:4]) == (None, "none")
    assert "Fast DDS" in plain["middleware"]

    profile = tmp_path / "profile.xml"
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    described = doctor.describe_ros()
    assert (described["ROS_DISTRO"], described["middleware"]) == ("jazzy", "rmw_fastrtps_cpp")
    assert described["fast_dds_profile"] == f"{profile}, which does not exist"
    profile.touch()
    assert doctor.describe_ros()["fast_dds_profile"] == str(profile)

    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert doctor.describe_ros()["fast_dds_profile"] == "not read by this middleware"


def test_versions_of_the_python_packages():
    described = doctor.describe_ros()
    # The tests need both.
    assert described["rclpy"]
    assert described["sensor_msgs"]


def test_rclpy_is_not_imported():
    code = "import sys; from lsabinet_ros import doctor; doctor.describe_ros(); sys.exit('rclpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_shared_memory(monkeypatch, tmp_path):
    status = os.statvfs(transport.SHARED_MEMORY)
    described = doctor.describe_shared_memory()
    assert described["size_bytes"] == status.f_blocks * status.f_frsize
    assert 0 <= described["free_bytes"] <= described["size_bytes"]
    monkeypatch.setattr(transport, "SHARED_MEMORY", str(tmp_path / "missing"))
    described = doctor.describe_shared_memory()
    assert (described["size_bytes"], described["free_bytes"]) == (None, None)
    (problem,) = described["problems"]
    assert "missing" in problem
