"""One process of a fleet: the command line of ``lsabinet``, which ends with the process that started it.

    python -m lsabinet_ros.bag.fleet_worker bag evaluate ...

Its standard input is a pipe that the fleet never writes to. The end of that pipe means that the fleet is gone, even if
it was killed, and nobody would use the report.
"""

import os
import sys
import threading

ORPHANED = 1
"""Exit status of a process whose fleet is gone."""


def end_with_parent() -> None:
    """End this process at the end of its standard input."""
    while os.read(0, 1):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    # Before the imports, which take seconds.
    threading.Thread(target=end_with_parent, name="parent watch", daemon=True).start()
    from lsabinet_core.cli import main

    sys.exit(main())
