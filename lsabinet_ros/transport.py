"""Middleware and memory settings that camera images need; ``docs/transport.md`` says why."""

import ctypes
import os

from lsabinet_core.share import share_directory

MALLOC_SETTINGS = {
    # glibc's variable: (mallopt's number, bytes). 32 MiB is the largest threshold that glibc accepts.
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 256 << 20),
    "MALLOC_TOP_PAD_": (-2, 16 << 20),
}

# Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted) the second.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_NEEDED = 64 << 20
"""Free bytes for four processes with the profile's segment of 16 MiB each: camera, node, viewer, recorder."""


def prepare() -> list[str]:
    """Set up this process for large images; call it before ``rclpy.init()``.

    Names our Fast DDS profile in the environment unless the user named one or another middleware, keeps glibc from
    giving image-sized blocks back to the system unless the user set its variables, and looks at /dev/shm.

    Returns:
        Warnings for the log, one line each; empty when all is well.
    """
    warnings = []
    if uses_fast_dds():
        if not any(os.environ.get(variable) for variable in PROFILE_VARIABLES):
            profile = share_directory() / "config" / "fastdds.xml"
            if profile.is_file():
                os.environ.update({variable: str(profile) for variable in PROFILE_VARIABLES})
            else:
                warnings.append(f"no {profile}: large images will be lost; install the package again")
        warnings += check_shared_memory()
    keep_freed_memory()
    return warnings


def uses_fast_dds() -> bool:
    """Whether the middleware is Fast DDS, as it is unless RMW_IMPLEMENTATION says otherwise."""
    return os.environ.get("RMW_IMPLEMENTATION", "").startswith(("rmw_fastrtps", "rmw_fastdds")) or not os.environ.get(
        "RMW_IMPLEMENTATION"
    )


def keep_freed_memory() -> bool:
    """Have glibc reuse freed image buffers: fresh pages from the system cost more than the transport does.

    Returns:
        False where the C library is not glibc; nothing is set then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    results = [
        mallopt(number, size) for variable, (number, size) in MALLOC_SETTINGS.items() if variable not in os.environ
    ]
    return all(results)


def check_shared_memory(path: str = SHARED_MEMORY, needed: int = SHARED_MEMORY_NEEDED) -> list[str]:
    """Warnings when shared memory is missing, not writable or too small for the profile's segments."""
    if not os.path.isdir(path) or not os.access(path, os.W_OK):
        return [f"{path} is missing or not writable: images go through UDP, which is slower and may lose large ones"]
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        return [
            f"{path} has {free >> 20} MiB free, {needed >> 20} MiB are needed for camera images: "
            "in a container, start it with --shm-size=512m or --ipc=host"
        ]
    return []
