"""The thread in which the network is loaded and run, so that neither blocks the executor."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class WorkerThread:
    """Runs one function after another in one thread.

    Loading, warm-up, inference and release of the network all happen in this thread, because thread pools and device
    handles belong to the thread that first used them. It is a daemon thread: a device that hangs must not keep the
    process from ending.
    """

    def __init__(self, name: str = "segmentation_worker"):
        self._jobs: queue.SimpleQueue[tuple[Future, Callable] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int:
        """The thread's identifier, as ``threading.get_ident`` returns it."""
        assert self._thread.ident is not None, "it has been started"
        return self._thread.ident

    def submit(self, function: Callable[[], Result]) -> "Future[Result]":
        """Run ``function`` after those submitted before; the future receives its result or exception."""
        future: Future = Future()
        self._jobs.put((future, function))
        return future

    def end(self, timeout_s: float) -> bool:
        """Let the thread end after the functions submitted so far.

        Returns:
            False if it is still running after ``timeout_s``; it then ends on its own later.
        """
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 whoever waits for the future gets it, whatever it is
                future.set_exception(error)
            # Do not keep what a job refers to, such as a network or an image, until the next job arrives.
            del job, future, function
