"""A separate ROS graph for a command, so that other nodes on the machine do not interfere."""

import contextlib
import itertools
import os
import socket

from lsabinet_core.errors import LsabinetError

DOMAINS = range(1, 101)
"""Ids above 101 would put DDS' ports among those that the system gives to outgoing connections."""
_FIRST_PORT = 21000

_calls = itertools.count()
_kept = contextlib.ExitStack()


class Domain:
    """A ROS domain id that no other process of this machine reserves, until ``close`` or the end of the process.

    Attributes:
        id: the value for ROS_DOMAIN_ID, one of ``DOMAINS``.

    Raises:
        LsabinetError: all ids are reserved.
    """

    def __init__(self):
        # Not the one before: its nodes may still be in the graph.
        first = (os.getpid() + next(_calls)) % len(DOMAINS)
        for domain in (*DOMAINS[first:], *DOMAINS[:first]):
            # The system releases the port when the process ends, however it ends. Nothing is sent through it.
            lock = socket.socket()
            try:
                lock.bind(("127.0.0.1", _FIRST_PORT + domain))
            except OSError:
                lock.close()
                continue
            self._lock, self.id = lock, domain
            return
        raise LsabinetError(
            f"all ROS domain ids from {DOMAINS[0]} to {DOMAINS[-1]} are reserved: end other runs, or set ROS_DOMAIN_ID"
        )

    def __enter__(self) -> "Domain":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the id for others."""
        self._lock.close()


def use_own_graph() -> None:
    """Give this process and those that it starts their own domain on this machine.

    Variables that are already set are kept, so that a user can choose the graph.
    """
    if "ROS_DOMAIN_ID" not in os.environ:
        os.environ["ROS_DOMAIN_ID"] = str(_kept.enter_context(Domain()).id)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
