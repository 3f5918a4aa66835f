"""Output of the package's log messages on stderr for CLI commands."""

import logging
import sys
from typing import TextIO


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"lsabinet: {level}{record.getMessage()}"


class _Stderr(logging.StreamHandler):
    """Writes to the current ``sys.stderr``."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: object) -> None:
        pass


def show_warnings(package: str = "lsabinet_core") -> None:
    """Print the warnings of a package on stderr, one line each. Repeated calls have no effect."""
    logger = logging.getLogger(package)
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(_Line())
        logger.addHandler(handler)


def show_log() -> None:
    """Print log messages of lsabinet_core of level INFO and above, one line each."""
    show_warnings()
    logging.getLogger("lsabinet_core").setLevel(logging.INFO)
