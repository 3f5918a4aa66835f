"""Losses and schedule against hand-computed cases and torch's own."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsabinet_core.errors import DatasetError
from lsabinet_core.training.losses import CrossEntropy, OhemCrossEntropy, class_weights
from lsabinet_core.training.schedule import warmup_poly


def test_class_weights_by_hand():
    weights = class_weights(np.array([900, 100, 0]))
    expected = [1 / math.log(2.0), 1 / math.log(1.2), 1 / math.log(1.1)]
    assert weights == pytest.approx(expected, rel=1e-6)
    with pytest.raises(DatasetError, match="no labelled pixel"):
        class_weights(np.zeros(3, np.int64))


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs_with_void_left_out(weighted):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 9, 7), torch.randint(0, 5, (2, 9, 7)).byte()
    labels[0, :4] = 255
    weight = torch.tensor([0.5, 1, 2, 4, 8]) if weighted else None
    expected = F.cross_entropy(logits, labels.long(), weight, ignore_index=255)
    torch.testing.assert_close(CrossEntropy(weight)(logits, labels), expected)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(torch.ones(5)), OhemCrossEntropy()])
def test_a_batch_of_void_costs_nothing(loss):
    logits = torch.randn(1, 5, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_ohem_keeps_the_hard_pixels():
    # Two classes; the true class has probability 0.9, 0.8, 0.6 and 0.2.
    probabilities = torch.tensor([0.9, 0.8, 0.6, 0.2])
    logits = torch.stack([probabilities.log(), (1 - probabilities).log()]).view(1, 2, 1, 4)
    labels = torch.zeros(1, 1, 4, dtype=torch.uint8)
    hard = -(math.log(0.6) + math.log(0.2)) / 2
    assert OhemCrossEntropy(threshold=0.7, min_kept_fraction=0)(logits, labels).item() == 0
    assert OhemCrossEntropy(threshold=0.7, min_kept_fraction=1 / 4)(logits, labels).item() == pytest.approx(
        hard, rel=1e-5
    )
    three = -(math.log(0.8) + math.log(0.6) + math.log(0.2)) / 3
    assert OhemCrossEntropy(threshold=0.7, min_kept_fraction=3 / 4)(logits, labels).item() == pytest.approx(
        three, rel=1e-5
    )


def test_schedule_by_hand():
    def rate(iteration):
        return warmup_poly(iteration, 1000, warmup=100, warmup_factor=0.25, power=0.9)

    assert rate(0) == pytest.approx(0.25)
    assert rate(50) == pytest.approx(0.625 * 0.95**0.9)
    assert rate(100) == pytest.approx(0.9**0.9)
    assert rate(999) == pytest.approx(0.001**0.9)
    assert warmup_poly(0, 10, warmup=0, warmup_factor=0.3, power=0.9) == 1
