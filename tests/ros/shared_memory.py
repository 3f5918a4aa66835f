"""The shared memory that Fast DDS leaves behind when a test kills a process."""

import contextlib
import fcntl
from pathlib import Path


def segments_of(pid: int) -> set[Path]:
    """The Fast DDS segments that a process has mapped, its own and those of its peers; empty if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    # fastrtps_ in Fast DDS 2, fastdds_ in Fast DDS 3.
    return {Path(line.split()[-1]) for line in lines if "/dev/shm/fastrtps_" in line or "/dev/shm/fastdds_" in line}


def remove_abandoned(segments: set[Path]) -> None:
    """Remove the segments whose owner has ended (its lock is free), as ``fastdds shm clean`` does."""
    for segment in segments:
        lock = segment.with_name(f"{segment.name}_el")
        with contextlib.suppress(OSError), open(lock) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
