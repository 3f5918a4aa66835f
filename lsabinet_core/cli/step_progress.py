"""Progress of work that has several kinds of steps."""

from lsabinet_core.cli.progress import Progress


class StepProgress:
    """A ``Progress`` for each kind of step, begun with its first and ended with its last; a context manager."""

    def __init__(self):
        self._open: dict[str, Progress] = {}

    def __enter__(self) -> "StepProgress":
        return self

    def __exit__(self, *_) -> None:
        for what in list(self._open):
            self._open.pop(what).__exit__()

    def update(self, what: str, done: int, total: int) -> None:
        """``done`` steps of ``total`` of this kind are done."""
        if what not in self._open:
            self._open[what] = Progress(what, total).__enter__()
        self._open[what].update(done, total)
        if done == total:
            self._open.pop(what).__exit__()
