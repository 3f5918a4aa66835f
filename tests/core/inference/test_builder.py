"""Background builds, and programs that end during a build."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lsabinet_core.inference.backends.builder import Builder

BUILD_S = 60
PROGRAM = f"""
import os, signal, sys, threading, time
from lsabinet_core.inference.backends.builder import Builder
runs = threading.Event()
Builder().submit(lambda: (runs.set(), time.sleep({BUILD_S})))
assert runs.wait(60)
"""


def end_of(program: str) -> tuple[int, str]:
    """Run the program, and check that it does not wait for its build; returns its exit status and output."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, timeout=2 * BUILD_S, check=False
    )
    assert time.monotonic() - begun < BUILD_S
    return done.returncode, done.stdout + done.stderr


def test_builds_run_in_order_and_the_thread_ends():
    builder, order, may_end = Builder(), [], threading.Event()

    def build(name):
        order.append(name)
        assert may_end.wait(60)
        order.append(name)
        return name

    futures = [builder.submit(lambda name=name: build(name)) for name in "ab"]
    may_end.set()
    assert [future.result(60) for future in futures] == ["a", "b"]
    assert order == ["a", "a", "b", "b"]
    assert builder.close(60)
    # The thread starts again for later builds.
    failing = builder.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing.result(60)
    assert builder.close(60)


def test_close_cancels_pending_builds_within_its_timeout():
    builder, runs, may_end = Builder(), threading.Event(), threading.Event()
    running = builder.submit(lambda: runs.set() or may_end.wait(60))
    waiting = builder.submit(lambda: pytest.fail("built after close"))
    assert runs.wait(60)
    begun = time.monotonic()
    assert not builder.close(0.2)
    assert 0.2 <= time.monotonic() - begun < 5
    assert waiting.cancelled()
    assert running.running()
    may_end.set()
    assert builder.close(60)
    assert running.result(60)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_the_program_during_a_build():
    status, text = end_of("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)")
    assert status == -signal.SIGINT
    assert "KeyboardInterrupt" in text
    assert "terminate called" not in text


def test_error_ends_the_program_during_a_build():
    status, text = end_of("raise ValueError('of the program')")
    assert status == 1
    assert "ValueError: of the program" in text


def test_command_keeps_its_exit_status_during_a_build():
    status, text = end_of(
        "import lsabinet_core.cli as cli\nsys.argv = ['lsabinet', 'runs', 'no_such_folder']\nsys.exit(cli.main())"
    )
    assert status == 1
    assert "lsabinet: error:" in text


def test_program_end_waits_for_a_short_build(tmp_path):
    """Without the wait, native code would abort the process, and no result would be cached for the next start."""
    done = tmp_path / "done"
    program = (
        "import pathlib, sys, time; from lsabinet_core.inference.backends.builder import Builder; "
        f"Builder().submit(lambda: (time.sleep(0.5), pathlib.Path({str(done)!r}).touch())); time.sleep(0.1); "
        "sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 3
    assert done.exists()
