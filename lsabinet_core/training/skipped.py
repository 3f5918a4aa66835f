"""Steps of a run that were skipped because the loss or gradient was not finite."""

from collections.abc import Callable

import torch

from lsabinet_core.errors import TrainingError

from .step import Outcome


class SkippedSteps:
    """Counts skipped steps, and stops a run with too many consecutive ones.

    Steps that may have overflowed because of fp16 loss scaling are skipped as well, and the loss scale is halved. They
    are not a sign of divergence: they add to the total, but not to the consecutive skips.

    Args:
        most_in_a_row: number of consecutive skipped steps at which the run stops.
        notify: called with the iteration, from 1, of each skipped step.

    Attributes:
        total: skipped steps of the whole run.
        in_a_row: consecutive skipped steps up to the latest counted iteration.
    """

    def __init__(self, most_in_a_row: int, notify: Callable[[int], None]):
        self.total = 0
        self.in_a_row = 0
        self._most_in_a_row = most_in_a_row
        self._notify = notify
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Add the outcome of the next iteration; synchronises with the device only in ``count``."""
        self._outcomes.append(outcome)

    def count(self, iteration: int) -> None:
        """Count the skipped steps among the added outcomes; ``iteration`` is that of the last one.

        Raises:
            TrainingError: too many consecutive steps were skipped.
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
                    "new run (another --out) with a lower optimizer.lr, clip_norm, or precision fp32"
                )
