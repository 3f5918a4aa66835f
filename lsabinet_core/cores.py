"""How many cores this process may use."""

import os


def usable_cores() -> int:
    """The cores that this process may run on: fewer than the machine's in a container or under ``taskset``."""
    # Only Linux tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def at_most_cores(threads: int) -> int:
    """``threads``, or the number of cores where that is less: more hinder each other, and thousands crash OpenMP."""
    return min(threads, usable_cores())
