"""Builds engines in a background thread."""

import atexit
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from . import BUILDER_THREAD
from .shapes import Run


class Builder:
    """Runs one build at a time, because frames need the cores as well.

    The thread is a daemon that lives only while builds are pending: a build cannot be interrupted, and must not keep a
    program alive after Ctrl-C.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Run], Callable[[], Run]]] = deque()
        self._thread: threading.Thread | None = None

    def submit(self, build: Callable[[], Run]) -> "Future[Run]":
        """Call ``build`` in the background, after all builds submitted before."""
        future: Future[Run] = Future()
        with self._lock:
            self._waiting.append((future, build))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=BUILDER_THREAD, daemon=True)
                self._thread.start()
        return future

    def close(self, timeout_s: float) -> bool:
        """Cancel pending builds and wait for the running one.

        Returns:
            False if it is still running after ``timeout_s``. Its result is freed later if nothing holds its Future.
        """
        with self._lock:
            waiting, thread = list(self._waiting), self._thread
            self._waiting.clear()
        for future, _ in waiting:
            future.cancel()
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _work(self) -> None:
        while self._build_next():
            pass

    def _build_next(self) -> bool:
        """Run the next build; returns False if there is none. Keeps no reference to the build."""
        with self._lock:
            if not self._waiting:
                self._thread = None
                return False
            future, build = self._waiting.popleft()
        if future.set_running_or_notify_cancel():
            try:
                result = build()
            except BaseException as error:  # noqa: BLE001 the Future passes it on
                future.set_exception(error)
            else:
                future.set_result(result)
        return True


@atexit.register
def _end_of_program() -> None:
    """Wait for a running build before the interpreter shuts down, or terminate the process without a shutdown.

    The command line and the node have an exit status of their own and exit earlier while a build is running.
    """
    builders = [thread for thread in threading.enumerate() if thread.name == BUILDER_THREAD]
    ended_by = getattr(sys, "last_type", None)
    try:
        if ended_by is None:
            for thread in builders:
                thread.join()
    except KeyboardInterrupt:
        ended_by = KeyboardInterrupt
    if ended_by is not None and any(thread.is_alive() for thread in builders):
        sys.stdout.flush()
        sys.stderr.flush()
        if issubclass(ended_by, KeyboardInterrupt) and os.name == "posix":
            # The exit status of Python after Ctrl-C, which a calling shell detects.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(1)
