"""Durations of the stages of a frame on a device that works asynchronously."""

import itertools
import time

import torch


class StageTimer:
    """Marks between consecutive stages; only the last mark is synchronised.

    On a GPU a mark is an event in the current stream, so that the program can submit the next stage while the previous
    one is still running.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._marks: list = []
        self.mark()

    def mark(self) -> None:
        """End the current stage: now or, on a GPU, when the device reaches this mark."""
        if self._device.type != "cuda":
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        self._marks.append(event)

    def milliseconds(self) -> list[float]:
        """Wall-clock time of each stage; waits for the device."""
        pairs = list(itertools.pairwise(self._marks))
        if self._device.type != "cuda":
            return [1e3 * (after - before) for before, after in pairs]
        self._marks[-1].synchronize()
        return [before.elapsed_time(after) for before, after in pairs]
