"""Long jobs in slices of time: each call goes on where the last one stopped."""

import contextlib
import signal
import time
import traceback
from collections.abc import Iterator

UNFINISHED = 75
"""EX_TEMPFAIL of sysexits.h: call again."""

CLOSING_SECONDS = 10
"""Of a slice, kept for stopping and for what is printed last."""


@contextlib.contextmanager
def time_slice(seconds: int | None, started: float) -> Iterator[float | None]:
    """Ends what is within it, quietly, when the slice is over.

    Yields the deadline, on ``time.monotonic()``'s clock, for ``carry_out_all`` to stop at a checkpoint before it. A run
    that has none by then is interrupted at the deadline itself.

    Args:
        seconds: length of the slice; None: it has no end.
        started: when it began, on that clock.
    """
    from lsabinet_core.training.campaign import TimeUp

    deadline = None if seconds is None else started + max(seconds - CLOSING_SECONDS, 1)
    try:
        with _alarm(deadline, TimeUp):
            yield deadline
    except TimeUp:
        pass


@contextlib.contextmanager
def _alarm(deadline: float | None, error: type[Exception]) -> Iterator[None]:
    if deadline is None:
        yield
        return

    def ring(_signal, frame):
        # Raised while the slice is being opened or closed, it would leave the alarm on. It rings again.
        modules = [caller.f_globals["__name__"] for caller, _ in traceback.walk_stack(frame)]
        if __name__ not in modules and modules[0] != contextlib.__name__:
            raise error

    before = signal.signal(signal.SIGALRM, ring)
    try:
        # Again and again: what compiles a step may take the exception for a failure to compile.
        signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), 0.001), 2)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
