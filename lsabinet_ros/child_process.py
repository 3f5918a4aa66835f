"""Child processes that are watched and ended in an orderly way: the node under test and the player."""

import signal
import subprocess
from collections.abc import Collection
from pathlib import Path

from lsabinet_core.errors import LsabinetError

EXIT_TIMEOUT_S = 15.0


class ChildProcess:
    """A process whose output goes to a log file.

    Args:
        name: for messages.
        command: with its arguments.
        log: where stdout and stderr go.
    """

    def __init__(self, name: str, command: list[str], log: Path):
        self._name = name
        self._log = log
        with log.open("wb") as stream:
            # In a new session, so that Ctrl-C only reaches this process, which then ends its children in order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> bool:
        return self._process.poll() is not None

    def check(self, may_end: Collection[int] = ()) -> None:
        """Raise LsabinetError if the process has ended with an exit status that is not among ``may_end``."""
        status = self._process.poll()
        if status is None or status in may_end:
            return
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        output = f": {lines[-1].strip()}" if lines else ""
        raise LsabinetError(f"the {self._name} {how}{output} (log: {self._log})")

    def stop(self) -> int:
        """End the process with SIGINT, as Ctrl-C does, and return its exit status."""
        if not self.ended():
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise LsabinetError(
                f"the {self._name} did not end within {EXIT_TIMEOUT_S:g} s of SIGINT (log: {self._log})"
            ) from None

    def kill(self) -> None:
        if not self.ended():
            self._process.kill()
            self._process.wait()
