"""Middleware and memory settings for camera images; ``docs/transport.md`` explains them."""

import ctypes
import os

from lsabinet_core.share import share_directory

MALLOC_SETTINGS = {
    # Environment variable of glibc: (parameter number of mallopt, bytes). glibc accepts at most 32 MiB as threshold.
    "MALLOC_MMAP_THRESHOLD_": (-3, 32 << 20),
    "MALLOC_TRIM_THRESHOLD_": (-1, 256 << 20),
    "MALLOC_TOP_PAD_": (-2, 16 << 20),
}

# Fast DDS 2 (Humble, Jazzy) reads the first variable, Fast DDS 3 (Kilted) the second one.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_NEEDED = 64 << 20
"""Bytes for four processes (camera, node, viewer, recorder) with one segment of 16 MiB each, as in the profile."""


def prepare() -> list[str]:
    """Set this process up for large images; call it before ``rclpy.init()``.

    Selects our Fast DDS profile unless the user has selected a profile or another middleware, makes glibc reuse
    image-sized blocks unless the user has set its variables, and checks /dev/shm.

    Returns:
        Warnings for the log, one line each; empty if there is no problem.
    """
    warnings = []
    if uses_fast_dds():
        if not any(os.environ.get(variable) for variable in PROFILE_VARIABLES):
            profile = share_directory() / "config" / "fastdds.xml"
            if profile.is_file():
                os.environ.update({variable: str(profile) for variable in PROFILE_VARIABLES})
            else:
                warnings.append(f"{profile} is missing, so large images will be lost: install the package again")
        warnings += check_shared_memory()
    keep_freed_memory()
    return warnings


def uses_fast_dds() -> bool:
    """Whether the middleware is Fast DDS, which is the default unless RMW_IMPLEMENTATION names another one."""
    return os.environ.get("RMW_IMPLEMENTATION", "").startswith(("rmw_fastrtps", "rmw_fastdds")) or not os.environ.get(
        "RMW_IMPLEMENTATION"
    )


def keep_freed_memory() -> bool:
    """Make glibc reuse freed image buffers, because fresh pages from the system cost more than the transport.

    Returns:
        False if the C library is not glibc; nothing is set in that case.
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
    """Warnings if shared memory is missing, not writable or too small for the segments of the profile."""
    if not os.path.isdir(path) or not os.access(path, os.W_OK):
        return [f"{path} is missing or not writable: images are sent over UDP, which is slower and may lose large ones"]
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        return [
            f"{path} has {free >> 20} MiB free, but camera images need {needed >> 20} MiB: start a container with "
            "--shm-size=512m or --ipc=host"
        ]
    return []
