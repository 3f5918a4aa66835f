"""For all tests."""

import logging
import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A shell that runs us in the background has its children ignore Ctrl-C, and theirs inherit that: tests that send
# SIGINT to a process of their own would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def checkout_first():
    """Programs that tests start have the checkout's modules, too, before those of a sourced ROS distribution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session", autouse=True)
def engine_cache(tmp_path_factory):
    """Where engines and the choices among them are kept: not the user's own, and the same for all tests."""
    path = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSABINET_CACHE_DIR", str(path))
        yield path


@pytest.fixture(autouse=True)
def package_log():
    """What a command that ran in this process has made of the package's log is undone, so that no test depends on
    which others ran before it."""
    logger = logging.getLogger("lsabinet_core")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
