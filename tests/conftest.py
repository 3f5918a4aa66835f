"""For all tests."""

import logging
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples at every run, and no limit for one of them: machines are busy.
settings.register_profile("lsabinet", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile("lsabinet")

# A shell that runs us in the background has its children ignore Ctrl-C, and theirs inherit that: tests that send
# SIGINT to a process of their own would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Mark as quick what is not in a file that slow.txt lists."""
    lines = (ROOT / "tests" / "slow.txt").read_text(encoding="utf-8").splitlines()
    slow = {ROOT / line for line in lines if not line.startswith("#")}
    for item in items:
        if item.path not in slow:
            item.add_marker(pytest.mark.quick)


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
    loggers = [logging.getLogger(package) for package in ("lsabinet_core", "lsabinet_ros")]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before):
        logger.handlers[:] = handlers
        logger.setLevel(level)
