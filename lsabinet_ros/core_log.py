"""What ``lsabinet_core`` logs, such as the choice of an engine, in a node's own log."""

import logging
from typing import TYPE_CHECKING

from lsabinet_ros.throttle import Throttle

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

CORE = "lsabinet_core"
MOST_CHARACTERS = 500


def on_one_line(text: str) -> str:
    """The text on one line of bounded length."""
    return " ".join(text.split())[:MOST_CHARACTERS]


class CoreLog(logging.Handler):
    """Hands what is logged in one thread to a node's logger, one line each, from now until ``close``.

    Every node works in a thread of its own, so that several nodes in one process do not log each other's lines. A line
    that repeats is logged once in a while.

    Args:
        logger: the node's.
        thread: identifier of the node's thread, as ``threading.get_ident`` gives it.
    """

    def __init__(self, logger: "RcutilsLogger", thread: int):
        super().__init__()
        self._logger = logger
        self._thread = thread
        self._should_log = Throttle()
        core = logging.getLogger(CORE)
        if core.level == logging.NOTSET:
            # What is shown is the ROS logger's to say; Python's own default would stop at warnings.
            core.setLevel(logging.DEBUG)
        core.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        try:
            text = on_one_line(record.getMessage())
            if self._should_log(text):
                self._log(record.levelno, text)
        except Exception:
            self.handleError(record)

    def _log(self, level: int, text: str) -> None:
        # One call each: rclpy refuses another severity from the same line of code.
        if level >= logging.ERROR:
            self._logger.error(text)
        elif level >= logging.WARNING:
            self._logger.warning(text)
        elif level >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)

    def close(self) -> None:
        """Hand on nothing more."""
        logging.getLogger(CORE).removeHandler(self)
        super().close()
