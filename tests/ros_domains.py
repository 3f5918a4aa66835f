"""ROS domain ids that no two tests share, whatever runs beside them on this machine."""

import contextlib
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

_used = itertools.count()


@contextlib.contextmanager
def reserved_domain(log_directory: Path) -> Iterator[int]:
    """An id that no other test of this machine uses, set in the environment for as long as the block lasts, with a
    folder for the logs and a graph that stays on this machine."""
    # Ids above 101 would put DDS' ports among those that the system gives to outgoing connections.
    ids = range(1, 101)
    # Not the one before: a node of the last test may still be in its graph.
    first = (os.getpid() + next(_used)) % len(ids)
    for domain in [*ids[first:], *ids[:first]]:
        lock = socket.socket()
        try:
            lock.bind(("127.0.0.1", 21000 + domain))
        except OSError:
            lock.close()
            continue
        break
    else:
        raise RuntimeError("all ROS domain ids are in use")
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(log_directory))
        yield domain
