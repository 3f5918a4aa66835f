"""How much main memory this process holds."""

import os
from pathlib import Path

MIB = 1 << 20
_STATM = Path("/proc/self/statm")


def resident_mib() -> float | None:
    """Resident memory of this process in MiB; None where the system has no /proc."""
    try:
        pages = int(_STATM.read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
