"""How long the steps of a frame take on a device that works behind the program's back."""

import itertools
import time

import torch


class Laps:
    """Marks between steps that follow each other; only the last is waited for.

    On a GPU a mark is an event in the current stream, so that the program can hand over the next step while the one
    before is still under way.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._marks: list = []
        self.mark()

    def mark(self) -> None:
        """The step up to here is over, or will be when the device comes to this mark."""
        if self._device.type != "cuda":
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        self._marks.append(event)

    def milliseconds(self) -> list[float]:
        """Wall-clock of each step, the device waited for."""
        pairs = list(itertools.pairwise(self._marks))
        if self._device.type != "cuda":
            return [1e3 * (after - before) for before, after in pairs]
        self._marks[-1].synchronize()
        return [before.elapsed_time(after) for before, after in pairs]
