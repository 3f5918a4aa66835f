"""The thread in which inference runs, so that it never blocks the executor, and the loop that empties the mailboxes."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from lsabinet_core.errors import FrameError
from lsabinet_ros.mailbox import Mailbox, Outcome, take_waiting

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


def serve(
    mailboxes: Sequence[Mailbox[Item]],
    process: Callable[[dict[int, Item]], Iterable[tuple[int, Outcome | Exception]]],
    on_error: Callable[[int, Exception], None],
) -> None:
    """Process items, newest first and only, until the mailboxes are closed; an error costs one item.

    Args:
        mailboxes: where the items come from and the outcomes are counted; they share a condition.
        process: takes the items that wait, by their mailbox's index, and yields index and outcome of each as soon as
            it is done. FrameError instead of an outcome means a bad frame (rejected), any other exception a failure;
            one that it raises is that of all items not done yet.
        on_error: called with index and error of each item that has one; it logs.
    """

    def finish(index: int, outcome: Outcome | Exception) -> None:
        error = outcome if isinstance(outcome, Exception) else None
        if error is not None:
            outcome = Outcome.REJECTED if isinstance(error, FrameError) else Outcome.FAILED
        try:
            if error is not None:
                on_error(index, error)
        finally:
            mailboxes[index].finish(outcome)

    while items := take_waiting(mailboxes):
        left = set(items)
        try:
            for index, outcome in process(items):
                left.remove(index)
                finish(index, outcome)
        except Exception as error:
            for index in left:
                finish(index, error)
        # What a frame holds is not kept until the next one comes.
        del items
