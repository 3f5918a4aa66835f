"""One process of a fleet: the command line of ``lsabinet``, which ends with the process that started it.

    python -m lsabinet_ros.bag.fleet_worker bag evaluate ...
    python -m lsabinet_ros.bag.fleet_worker --temporary FOLDER bag evaluate ...

Its standard input is a pipe that the fleet never writes to. When the fleet ends or is killed, that pipe ends. Nobody
would then use the report, so this process ends as well, and FOLDER is removed.
"""

import os
import shutil
import sys
import threading

TEMPORARY = "--temporary"
"""Option before the name of a folder that the starting process removes at the end."""
ORPHANED = 1
"""Exit status of a process whose fleet is gone."""
REMOVALS = 10
"""How often the folder is removed: the command continues meanwhile and may write one more file."""


def end_with_parent(folder: str | None) -> None:
    """End this process at the end of its standard input, without leaving ``folder`` behind."""
    while os.read(0, 1):
        pass
    for _ in range(REMOVALS):
        if folder is None or not os.path.isdir(folder):
            break
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(ORPHANED)


if __name__ == "__main__":
    temporary = None
    if sys.argv[1] == TEMPORARY:
        temporary = sys.argv[2]
        # The report names the command without them.
        del sys.argv[1:3]
    # Before the imports, which take seconds.
    threading.Thread(target=end_with_parent, args=(temporary,), name="parent watch", daemon=True).start()
    from lsabinet_core.cli import main

    sys.exit(main())
