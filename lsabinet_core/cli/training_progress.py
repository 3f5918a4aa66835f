"""Shows a training run: a bar with ETA in a terminal, plain lines elsewhere."""

import math
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

PLAIN_LINE_SECONDS = 30


class TrainingProgress:
    """Observer of a Trainer, and a context manager around its run."""

    def __init__(self, stream: TextIO):
        self._console = Console(file=stream)
        self._last_line = 0.0
        self._started: tuple[float, int] | None = None
        self._miou = "-"
        self._bar: Progress | None = None
        if self._console.is_terminal:
            # In a narrow terminal the text is cut, never the figures before it.
            self._bar = Progress(
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
                console=self._console,
                expand=True,
            )
            self._tasks: dict[str, int] = {}

    def __enter__(self) -> "TrainingProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_exception) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, event: dict) -> None:
        getattr(self, f"_on_{event['event']}")(event)

    def _on_loading(self, event: dict) -> None:
        self._show("loading", event["done"], event["total"], f"loaded {event['done']} of {event['total']} images")

    def _on_compiling(self, event: dict) -> None:
        self._print("compiling the training step, which takes up to minutes")

    def _on_step(self, event: dict) -> None:
        iteration, total = event["iteration"], event["total"]
        text = (
            f"epoch {event['epoch']}  loss {event['loss']:.4f}  val mIoU {self._miou}  "
            f"{event['images_per_s']:.1f} images/s  lr {event['lr']:.2e}"
        )
        line = f"{iteration}/{total}  {text}  ETA {self._eta(iteration, total)}"
        self._show("training", iteration, total, line, text)

    def _on_validation(self, event: dict) -> None:
        self._miou = "undefined" if math.isnan(event["miou"]) else f"{100 * event['miou']:.2f} %"
        self._print(f"epoch {event['epoch']}: val mIoU {self._miou}")

    def _on_skipped(self, event: dict) -> None:
        self._print(f"iteration {event['iteration']}: loss or gradient is not finite, step skipped")

    def _on_warning(self, event: dict) -> None:
        self._print(f"warning: {event['message']}")

    def _on_run(self, event: dict) -> None:
        """Several runs are one job, of which the next begins."""
        self._print(f"run {event['name']} ({event['done'] + 1} of {event['total']})")
        self._started, self._miou = None, "-"
        if self._bar:
            for task in self._tasks.values():
                self._bar.remove_task(task)
            self._tasks.clear()

    def _show(self, task: str, done: int, total: int, line: str, text: str | None = None) -> None:
        if self._bar:
            if task not in self._tasks:
                # A resumed run's pace is that of what it does itself.
                self._tasks[task] = self._bar.add_task(task, total=total, completed=done)
            self._bar.update(self._tasks[task], completed=done, description=text or task)
        elif done == total or time.monotonic() - self._last_line >= PLAIN_LINE_SECONDS:
            self._print(line)
            self._last_line = time.monotonic()

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _eta(self, iteration: int, total: int) -> str:
        now = time.monotonic()
        if self._started is None:
            self._started = (now, iteration)
            return "-"
        begun, first = self._started
        seconds = int((now - begun) / (iteration - first) * (total - iteration))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
