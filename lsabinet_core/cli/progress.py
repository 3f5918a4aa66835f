"""Progress on stderr: a bar in a terminal, now and then a plain line elsewhere."""

import sys
import time
from datetime import timedelta

PLAIN_INTERVAL_S = 10.0


class Progress:
    """Shows how far a loop has come; a context manager.

    Args:
        what: what is being done, e.g. ``segmenting``.
        total: number of steps; None if unknown.
    """

    def __init__(self, what: str, total: int | None = None):
        self._what = what
        self._total = total
        self._done: int | None = None
        self._started = self._printed = time.monotonic()
        self._bar = _make_bar() if sys.stderr.isatty() else None

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int | None = None) -> None:
        """``done`` steps are done, of ``total`` if that has become known."""
        self._total = self._total if total is None else total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total)
            return
        if done == self._done:
            return
        self._done = done
        now = time.monotonic()
        if done == self._total or now - self._printed >= PLAIN_INTERVAL_S:
            self._printed = now
            of = "" if self._total is None else f"/{self._total}"
            elapsed = max(now - self._started, 1e-9)
            pace = f"{elapsed / done:.0f} s each" if 0 < 10 * done < elapsed else f"{done / elapsed:.1f}/s"
            left = ""
            if self._total is not None and 0 < done < self._total:
                left = f"  {timedelta(seconds=round(elapsed / done * (self._total - done)))} left"
            print(f"{self._what}: {done}{of}  {pace}{left}", file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        """Print a warning without tearing the bar."""
        line = f"lsabinet: warning: {message}"
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _make_bar():
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
