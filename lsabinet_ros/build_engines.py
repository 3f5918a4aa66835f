"""Compares and builds engines in a separate low-priority process, so that the node's frames keep their cores.

    python -m lsabinet_ros.build_engines REQUEST

REQUEST is a ``BuildRequest`` as JSON. The next Segmenter finds the engines in the cache on disk.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lsabinet_core.errors import LsabinetError, one_line

if TYPE_CHECKING:
    from lsabinet_core.inference.segmenter import Segmenter

NICENESS = 10
"""Added to the niceness of the node: the scheduler then gives the process a tenth of a core that both want."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        weights: as in the parameter of the node.
        options: further arguments of ``Segmenter.from_pretrained``.
        batches: (height, width, frames): sizes of camera frames, and how many go through the network in one call.
            Empty: one frame of the training size.
    """

    weights: str
    options: Mapping[str, object]
    batches: tuple[tuple[int, int, int], ...] = ()

    def open(self, *, compare: bool) -> "Segmenter":
        """A Segmenter with these options; ``compare`` as for ``Segmenter``."""
        # Not at the top: torch takes seconds to import, and the node should answer services before that.
        from lsabinet_core.inference.segmenter import Segmenter

        return Segmenter.from_pretrained(self.weights, **self.options, compare=compare)

    def build(self) -> "Segmenter":
        """A Segmenter whose engine is built for all batches, or loaded from the cache."""
        segmenter = self.open(compare=True)
        try:
            for height, width, frames in self.batches:
                segmenter.warm_up((height, width), frames=frames)
            if not self.batches:
                segmenter.warm_up()
        except BaseException:
            segmenter.close()
            raise
        return segmenter


class BuildProcess:
    """A process that builds the engines of a request, and dies with this one.

    Args:
        request: what to build.
    """

    def __init__(self, request: BuildRequest):
        command = [sys.executable, "-m", "lsabinet_ros.build_engines", json.dumps(asdict(request))]
        # A session of its own: Ctrl-C in a terminal is for the node, which then ends this process.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def wait(self) -> str | None:
        """Wait for the end of the process; returns why it failed, in one line, or None."""
        said = self._process.communicate()[1].strip()
        status = self._process.returncode
        return None if status == 0 else one_line((said.splitlines() or [f"exit status {status}"])[-1])

    def end(self) -> None:
        """Kill the process if it is running."""
        self._process.kill()


def main(arguments: list[str] | None = None) -> int:
    (text,) = sys.argv[1:] if arguments is None else arguments
    parent = os.getppid()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before that
            return 1
    document = json.loads(text)
    request = BuildRequest(
        document["weights"],
        {name: tuple(value) if isinstance(value, list) else value for name, value in document["options"].items()},
        tuple(map(tuple, document["batches"])),
    )
    try:
        request.build().close()
    except LsabinetError as error:
        print(one_line(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
