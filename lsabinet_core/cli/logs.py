"""What the package logs, on stderr, for commands."""

import logging
import sys


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"lsabinet: {level}{record.getMessage()}"


class _Stderr(logging.StreamHandler):
    """Writes to what sys.stderr is at the time."""

    @property
    def stream(self):
        return sys.stderr

    @stream.setter
    def stream(self, value) -> None:
        pass


def show_log() -> None:
    """Print messages of lsabinet_core from INFO on, one line each; calling it again changes nothing."""
    logger = logging.getLogger("lsabinet_core")
    if not any(isinstance(handler, _Stderr) for handler in logger.handlers):
        handler = _Stderr()
        handler.setFormatter(_Line())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
