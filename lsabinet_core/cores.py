"""Number of CPU cores that this process may use.

Linux has two limits. The CPU affinity (``taskset``, a container's ``--cpuset-cpus``) restricts the visible cores, and
every library respects it. A cgroup's CPU quota (``docker run --cpus``, a Kubernetes CPU limit) hides no core: libraries
start one thread per core, and the kernel then throttles the process for most of each period.

Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max),
https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us), proc_pid_mountinfo(5), cgroups(7).
"""

import math
import os
import re
from functools import lru_cache
from pathlib import Path

PROCESS = Path("/proc/self")


def visible_cores() -> int:
    """Return the number of cores in the CPU affinity of this process, the default thread count of most libraries."""
    # Python exposes the affinity on Linux only.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """Return the number of visible cores, limited by the cgroup's CPU quota rounded up.

    The quota is read once, because thread pools would not follow a later change.
    """
    quota = _quota_of_this_process()
    return visible_cores() if quota is None else min(visible_cores(), max(1, math.ceil(quota)))


def at_most_cores(threads: int) -> int:
    """Limit ``threads`` to the usable cores: more threads slow each other down, and thousands crash OpenMP."""
    return min(threads, usable_cores())


def threads_for_engine(threads: int) -> int:
    """Return the thread count to pass to an engine; 0 (its own default) only where that respects the CPU quota."""
    if threads == 0 and usable_cores() < visible_cores():
        return usable_cores()
    return at_most_cores(threads)


def cpu_quota(process: Path = PROCESS) -> float | None:
    """Return the CPU quota of a process in cores (0.5 is half a core), or None without a limit.

    A cgroup is also limited by its ancestors, so the smallest quota up to the root applies, in cgroup v1 and v2.

    Args:
        process: the process's folder in /proc, which contains ``cgroup`` and ``mountinfo``.
    """
    try:
        groups = (process / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (process / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for folder in _cpu_groups(groups, mounts):
        # An unreadable quota is treated as no limit.
        try:
            quotas.append(_quota_of(folder))
        except (OSError, ValueError):
            continue
    return min((quota for quota in quotas if quota is not None), default=None)


@lru_cache(maxsize=1)
def _quota_of_this_process() -> float | None:
    return cpu_quota()


def _cpu_groups(groups: list[str], mounts: list[str]) -> list[Path]:
    """Return the folders of the process's cgroups that may limit CPU time, and of their visible ancestors."""
    folders = []
    for line in groups:
        # 4:cpu,cpuacct:/path in cgroup v1, 0::/path in v2.
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root, point in _mount_points(mounts, "cgroup" if controllers else "cgroup2"):
            # In a container the path may be the host's; the mount shows only the part below its root.
            inside = os.path.relpath(path, root)
            folder = point if inside.startswith("..") else Path(os.path.normpath(point / inside))
            folders += [folder, *(parent for parent in folder.parents if parent.is_relative_to(point))]
    return folders


def _mount_points(mounts: list[str], kind: str) -> list[tuple[str, Path]]:
    """Return (root in its file system, mount point) of each cgroup hierarchy of this kind that may limit CPU time."""
    found = []
    for line in mounts:
        # 32 23 0:28 /root /point rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
        place, _, system = line.partition(" - ")
        root, point = (_unescaped(name) for name in place.split()[3:5])
        name, _, options = system.split(maxsplit=2)
        if name == kind and (kind == "cgroup2" or "cpu" in options.split(",")):
            found.append((root, Path(point)))
    return found


def _unescaped(name: str) -> str:
    """Decode the octal escapes of mountinfo, such as ``\\040`` for a space."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), name)


def _quota_of(group: Path) -> float | None:
    """Return the quota of one cgroup in cores, or None without a limit."""
    if (limit := group / "cpu.max").is_file():
        quota, period = limit.read_text(encoding="ascii").split()
    elif (limit := group / "cpu.cfs_quota_us").is_file():
        quota = limit.read_text(encoding="ascii")
        period = (group / "cpu.cfs_period_us").read_text(encoding="ascii")
    else:
        return None
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
