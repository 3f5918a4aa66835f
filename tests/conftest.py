"""Settings and fixtures of all tests."""

import gc
import logging
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Every run uses the same examples, and an example has no deadline, because machines may be busy.
settings.register_profile("lsabinet", derandomize=True, database=None, deadline=None, max_examples=50)
settings.load_profile("lsabinet")

# A process that a shell starts in the background ignores SIGINT, and its child processes inherit that. Tests that send
# SIGINT to a child process would then wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The objects of PyTorch and of the collected tests live as long as the process: looking through all of them for garbage
# after every few thousand allocations takes a tenth of the time of an ONNX export.
gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items):
    """Mark the tests of all files that slow.txt does not list as quick."""
    lines = (ROOT / "tests" / "slow.txt").read_text(encoding="utf-8").splitlines()
    slow = {ROOT / line for line in lines if not line.startswith("#")}
    for item in items:
        if item.path not in slow:
            item.add_marker(pytest.mark.quick)


def pytest_collection_finish():
    _keep_out_of_garbage_collection()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Free the garbage of a file's tests and fixtures, which are finished when its last test returns."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        _keep_out_of_garbage_collection()
    return result


def _keep_out_of_garbage_collection():
    """Free garbage, and let later garbage collections skip what is left: modules, tests, and PyTorch's caches.

    The node collects garbage whenever it is deactivated, and so do many tests: with everything that a long run of tests
    has loaded, each collection would take a second or more.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def checkout_first():
    """Let programs started by tests import the checkout's modules, ahead of those of a sourced ROS distribution."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


@pytest.fixture(scope="session", autouse=True)
def engine_cache(tmp_path_factory):
    """The cache folder for engines and engine choices: shared by all tests, and separate from the user's cache."""
    path = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSABINET_CACHE_DIR", str(path))
        yield path


@pytest.fixture(autouse=True)
def package_log():
    """Restore the package's loggers after each test, because a command that runs in this process configures them."""
    loggers = [logging.getLogger(package) for package in ("lsabinet_core", "lsabinet_ros")]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before):
        logger.handlers[:] = handlers
        logger.setLevel(level)
