"""ROS domain ids that no two tests share, whatever runs beside them on this machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lsabinet_ros.own_graph import Domain


@contextlib.contextmanager
def reserved_domain(log_directory: Path) -> Iterator[int]:
    """An id that no other test of this machine uses, set in the environment for as long as the block lasts, with a
    folder for the logs and a graph that stays on this machine."""
    with Domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain.id))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(log_directory))
        yield domain.id
