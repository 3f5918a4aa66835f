"""Forwards the log of ``lsabinet_core``, such as the choice of an engine, to the log of the node."""

import logging
from typing import TYPE_CHECKING, ClassVar

from lsabinet_core.errors import one_line
from lsabinet_ros.throttle import Throttle

if TYPE_CHECKING:
    from rclpy.impl.rcutils_logger import RcutilsLogger

CORE = "lsabinet_core"
"""Name of the core's logger."""


class CoreLog(logging.Handler):
    """Forwards the records of the core's logger to a node's logger, one line each, until ``close``.

    Engines are also built in threads of the core, so records of every thread of the process are forwarded. If several
    nodes share the process, a record of one node's worker goes to that node alone, and a record of any other thread
    goes to all nodes, because nothing tells whose engine it is about. A repeated line is throttled.

    Args:
        logger: the node's logger.
        worker: identifier of the node's worker thread (``threading.get_ident``).
    """

    _workers: ClassVar[set[int]] = set()

    def __init__(self, logger: "RcutilsLogger", worker: int):
        super().__init__()
        self._logger = logger
        self._worker = worker
        self._should_log = Throttle()
        self._workers.add(worker)
        core = logging.getLogger(CORE)
        if core.level == logging.NOTSET:
            # The ROS logger filters by severity; Python's default level would already drop everything below WARNING.
            core.setLevel(logging.DEBUG)
        core.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._worker and record.thread in self._workers:
            return
        try:
            text = one_line(record.getMessage())
            if self._should_log(text):
                self._log(record.levelno, text)
        except Exception:  # noqa: BLE001 logging must not fail the code that logs
            self.handleError(record)

    def _log(self, level: int, text: str) -> None:
        # rclpy does not allow one line of code to log at different severities.
        if level >= logging.ERROR:
            self._logger.error(text)
        elif level >= logging.WARNING:
            self._logger.warning(text)
        elif level >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)

    def close(self) -> None:
        """Forward nothing more."""
        logging.getLogger(CORE).removeHandler(self)
        self._workers.discard(self._worker)
        super().close()
