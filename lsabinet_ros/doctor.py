"""The sections of ``lsabinet doctor`` about ROS. They do not import rclpy, so they work where it cannot be loaded."""

import importlib.util
import os
import shutil
from importlib import metadata
from pathlib import Path

from lsabinet_core.cli.doctor import shown
from lsabinet_ros import transport

VARIABLES = ("ROS_DISTRO", "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY")

MODULES = ("rclpy", "sensor_msgs", "vision_msgs", "cv_bridge", "launch_ros")


def sections() -> dict:
    """Name and function of each section of the page."""
    return {"ros": describe_ros, "shared_memory": describe_shared_memory}


def describe_ros() -> dict:
    """Variables of the graph, the middleware and its profile, and the version of each Python package of ROS."""
    return {
        **{name: os.environ.get(name) or None for name in VARIABLES},
        "middleware": _middleware(),
        "fast_dds_profile": _profile(),
        **{name: _version(name) for name in MODULES},
    }


def _middleware() -> str:
    if named := os.environ.get("RMW_IMPLEMENTATION"):
        return named
    return "the default of the distribution: Fast DDS in Humble, Jazzy and Kilted"


def _profile() -> str:
    if not transport.uses_fast_dds():
        return "not read by this middleware"
    named = next(filter(None, map(os.environ.get, transport.PROFILE_VARIABLES)), None)
    if named is None:
        return "none in this shell; the node uses config/fastdds.xml of this package"
    return shown(Path(named)) if Path(named).is_file() else f"{shown(Path(named))}, which does not exist"


def _version(module: str) -> str | None:
    """None if there is no such module."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        return "installed without a version"


def describe_shared_memory() -> dict:
    """Size and free space of /dev/shm in bytes, and what the node would warn about."""
    folder = transport.SHARED_MEMORY
    usage = shutil.disk_usage(folder) if Path(folder).is_dir() else None
    return {
        "folder": folder,
        "size_bytes": usage and usage.total,
        "free_bytes": usage and usage.free,
        "problems": transport.check_shared_memory(folder),
    }
