"""Compute the items of an iterable in another thread, ahead of their use."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

DEPTH = 3
"""Maximum number of waiting items. One is enough to hide the work; more even out the chunks of a file."""


def read_ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[T]:
    """Yield ``items`` in their order; an error that they raise is raised at its place in that order.

    The iterable is only used in the thread. If the caller stops early, the thread ends with the next item.
    """
    done = object()
    waiting: queue.Queue = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[object, BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        error = None
        try:
            for item in items:
                if not put((item, None)):
                    break
        except BaseException as raised:  # noqa: BLE001 the caller's thread raises it
            error = raised
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        put((done, error))

    thread = threading.Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is done:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
