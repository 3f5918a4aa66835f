"""Skipped steps are assigned to the right iteration, no matter how often they are counted."""

import pytest
import torch

from lsabinet_core.errors import TrainingError
from lsabinet_core.training.skipped import SkippedSteps
from lsabinet_core.training.step import Outcome

FINE, WRONG, OVERFLOWED = (True, False), (False, False), (False, True)


def follow(kinds, every):
    """The reported iterations and the totals, when counting every ``every`` steps."""
    reported = []
    skipped = SkippedSteps(3, reported.append)
    for iteration, kind in enumerate(kinds, 101):
        skipped.add(Outcome(torch.zeros(()), *map(torch.tensor, kind)))
        if iteration % every == 0 or iteration == 100 + len(kinds):
            skipped.count(iteration)
    return reported, skipped.total, skipped.in_a_row


@pytest.mark.parametrize("every", [1, 4, 100])
def test_counts(every):
    assert follow([WRONG, WRONG, FINE, FINE, WRONG, FINE, WRONG, WRONG], every) == ([101, 102, 105, 107, 108], 5, 2)
    with pytest.raises(
        TrainingError, match=r"not finite 3 times in a row, at iteration 105: start .* lower optimizer.lr"
    ):
        follow([FINE, FINE, WRONG, WRONG, WRONG, FINE, FINE, FINE], every)


@pytest.mark.parametrize("every", [1, 4])
def test_loss_scale_overflows_do_not_stop_the_run(every):
    assert follow([OVERFLOWED] * 16 + [FINE, WRONG], every)[1:] == (17, 1)
    with pytest.raises(TrainingError, match="at iteration 107"):
        follow([OVERFLOWED] * 4 + [WRONG] * 4, every)


def test_count_without_outcomes():
    skipped = SkippedSteps(1, print)
    skipped.count(5)
    assert (skipped.total, skipped.in_a_row) == (0, 0)
