"""The steps of a run that were skipped because loss or gradient was not finite."""

from collections.abc import Callable

import torch

from lsabinet_core.errors import TrainingError

from .step import Outcome


class SkippedSteps:
    """Counts them, and ends a run that makes no others.

    Steps that the loss scale of fp16 may have made overflow are skipped, too, and the next are made with half of it.
    They are no sign of a run that diverges: they count, but not among those in a row.

    Args:
        most_in_a_row: at which the run ends.
        notify: called with the iteration, from 1, of each.

    Attributes:
        total: of the run.
        in_a_row: up to the latest iteration that was counted.
    """

    def __init__(self, most_in_a_row: int, notify: Callable[[int], None]):
        self.total = 0
        self.in_a_row = 0
        self._most_in_a_row = most_in_a_row
        self._notify = notify
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """The next iteration's; nobody waits for the device before ``count``."""
        self._outcomes.append(outcome)

    def count(self, iteration: int) -> None:
        """Count among the iterations that were added, of which ``iteration`` is the last.

        Raises:
            TrainingError: too many in a row.
        """
        if not self._outcomes:
            return
        first = iteration - len(self._outcomes) + 1
        flags = torch.stack([torch.stack((outcome.finite, outcome.overflowed)) for outcome in self._outcomes])
        self._outcomes.clear()
        for number, (finite, overflowed) in enumerate(flags.tolist(), first):
            if finite:
                self.in_a_row = 0
                continue
            self.total += 1
            self.in_a_row += not overflowed
            self._notify(number)
            if self.in_a_row >= self._most_in_a_row:
                raise TrainingError(
                    f"loss or gradient was not finite {self.in_a_row} times in a row, at iteration {number}: start a "
                    "new run, with another --out, with a lower optimizer.lr, clip_norm, or precision fp32"
                )
