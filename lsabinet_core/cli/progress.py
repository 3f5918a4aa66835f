"""Progress on standard error: a bar in a terminal, plain lines from time to time elsewhere."""

import math
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_INTERVAL_S = 30.0

Shown = TypeVar("Shown", bound="Progress")


class Progress:
    """Shows how far one or several loops have come; a context manager.

    Args:
        what: what ``update`` reports on, such as ``segmenting``.
        total: number of its steps; None if unknown.
    """

    def __init__(self, what: str = "", total: int | None = None):
        self._what = what
        self._totals: dict[str, int | None] = {what: total}
        self._begun: dict[str, tuple[float, int]] = {}
        self._done: dict[str, int] = {}
        self._printed = time.monotonic()
        self._bar = _terminal_bar()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self: Shown) -> Shown:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int | None = None) -> None:
        """``done`` steps are done, of ``total`` if that is known by now."""
        self.step(self._what, done, total)

    def step(self, what: str, done: int, total: int | None = None, text: str = "") -> None:
        """``done`` steps of the loop ``what`` are done; ``text`` tells more about them."""
        total = self._totals[what] = self._totals.get(what) if total is None else total
        before, self._done[what] = self._done.get(what, -1), done
        if done == before:
            return
        now = time.monotonic()
        if before < 0 or done < before:
            # A new loop. A resumed run starts in the middle: its pace only includes its own steps.
            self._begun[what] = (now, done)
            self._renew_task(what, total)
        if self._bar is not None:
            self._bar.update(self._tasks[what], completed=done, total=total, description=text or what)
        elif done == total or now - self._printed >= PLAIN_INTERVAL_S:
            self._printed = now
            started, first = self._begun[what]
            left = "0:00:00" if done == total else "-"
            if total is not None and done > first:
                left = str(timedelta(seconds=round((now - started) / (done - first) * (total - done))))
            self.print(f"{what} {done}/{'?' if total is None else total}  {text and f'{text}  '}ETA {left}")

    def print(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def warn(self, message: str) -> None:
        self.print(f"lsabinet: warning: {message}")

    def restart(self) -> None:
        """Forget all loops: another job begins."""
        if self._bar is not None:
            for task in self._tasks.values():
                self._bar.remove_task(task)
        self._tasks.clear()
        self._done.clear()

    def _renew_task(self, what: str, total: int | None) -> None:
        if self._bar is not None:
            if what in self._tasks:
                self._bar.remove_task(self._tasks[what])
            self._tasks[what] = self._bar.add_task(what, total=total, completed=self._done[what])


class TrainingProgress(Progress):
    """Observer of a Trainer, or of several one after the other, that shows its events."""

    _miou = "-"

    def __call__(self, event: dict) -> None:
        kind = event["event"]
        if kind == "loading":
            self.step("loading images", event["done"], event["total"])
        elif kind == "compiling":
            self.print("compiling the training step, which may take minutes")
        elif kind == "step":
            text = (
                f"epoch {event['epoch']}  loss {event['loss']:.4f}  val mIoU {self._miou}  "
                f"{event['images_per_s']:.1f} images/s  lr {event['lr']:.2e}"
            )
            self.step("training", event["iteration"], event["total"], text)
        elif kind == "validation":
            self._miou = "undefined" if math.isnan(event["miou"]) else f"{100 * event['miou']:.2f} %"
            self.print(f"epoch {event['epoch']}: val mIoU {self._miou}")
        elif kind == "skipped":
            self.print(f"iteration {event['iteration']}: loss or gradient is not finite, step skipped")
        elif kind == "warning":
            self.warn(event["message"])
        elif kind == "run":
            self.print(f"run {event['name']} ({event['done'] + 1} of {event['total']})")
            self.restart()
            self._miou = "-"


def _terminal_bar() -> "RichProgress | None":
    """Return a rich progress display on standard error, or None if that is not a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        return None
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    return RichProgress(
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        # A narrow terminal cuts the text but not the figures before it.
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        expand=True,
    )
