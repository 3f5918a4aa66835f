"""The thread in which inference runs, so that it never blocks the executor, and the loop that empties a mailbox."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from lsabinet_core.errors import FrameError
from lsabinet_ros.mailbox import Mailbox, Outcome

Item = TypeVar("Item")


class WorkerThread:
    """Runs one function after another in one thread.

    Loading, warming up and segmenting happen in the same thread, because thread pools and device handles belong to the
    thread that first used them. It is a daemon: a device that hangs must not keep the process from ending.
    """

    def __init__(self, name: str = "segmentation_worker"):
        self._jobs: queue.SimpleQueue[tuple[Future, Callable] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int:
        """The thread's identifier."""
        return self._thread.ident

    def submit(self, function: Callable[[], Item]) -> "Future[Item]":
        """Run ``function`` after those submitted before; the future has its result or exception."""
        future: Future = Future()
        self._jobs.put((future, function))
        return future

    def end(self, timeout_s: float) -> bool:
        """End the thread after its work; False when it still works after ``timeout_s`` and is left to itself."""
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function = job
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            # What a job holds, a model or an image, is not kept until the next one comes.
            del job, future, function


def serve(mailbox: Mailbox[Item], process: Callable[[Item], Outcome], on_error: Callable[[Exception], None]) -> None:
    """Process items, newest first and only, until the mailbox is closed; an error costs one item.

    Args:
        mailbox: where the items come from and the outcomes are counted.
        process: returns the item's outcome. FrameError means a bad frame (rejected), any other exception a failure.
        on_error: called with each error; it logs.
    """
    while (item := mailbox.take()) is not None:
        outcome = Outcome.FAILED
        try:
            outcome = process(item)
        except FrameError as error:
            outcome = Outcome.REJECTED
            on_error(error)
        except Exception as error:
            on_error(error)
        finally:
            mailbox.finish(outcome)
        del item
