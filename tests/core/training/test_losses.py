"""Losses and schedule against hand-computed values and PyTorch's own losses."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsabinet_core.errors import DatasetError
from lsabinet_core.training.distillation import distillation_loss
from lsabinet_core.training.losses import (
    CrossEntropy,
    OhemCrossEntropy,
    boundary_band,
    class_weights,
    create_loss,
    lovasz_softmax,
)
from lsabinet_core.training.schedule import warmup_poly


def test_class_weights_match_hand_computed_values():
    weights = class_weights(np.array([900, 100, 0]))
    expected = [1 / math.log(2.0), 1 / math.log(1.2), 1 / math.log(1.1)]
    assert weights == pytest.approx(expected, rel=1e-6)
    with pytest.raises(DatasetError, match="no labelled pixel"):
        class_weights(np.zeros(3, np.int64))


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_matches_torch_and_ignores_void(weighted):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 9, 7), torch.randint(0, 5, (2, 9, 7)).byte()
    labels[0, :4] = 255
    weight = torch.tensor([0.5, 1, 2, 4, 8]) if weighted else None
    expected = F.cross_entropy(logits, labels.long(), weight, ignore_index=255)
    torch.testing.assert_close(CrossEntropy(weight)(logits, labels), expected)
    smooth = F.cross_entropy(logits, labels.long(), weight, ignore_index=255, label_smoothing=0.2)
    torch.testing.assert_close(CrossEntropy(weight, label_smoothing=0.2)(logits, labels), smooth)


def test_emphasis_matches_hand_computed_values():
    torch.manual_seed(1)
    logits, labels = torch.randn(1, 3, 2, 2), torch.tensor([[[0, 2], [1, 255]]]).byte()
    weight, emphasis = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([[[1.0, 5.0], [2.0, 7.0]]])
    losses = -logits.log_softmax(1)[0]
    expected = (losses[0, 0, 0] + 2 * 5 * losses[2, 0, 1] + 3 * 2 * losses[1, 1, 0]) / (1 + 2 * 5 + 3 * 2)
    torch.testing.assert_close(CrossEntropy(weight)(logits, labels, emphasis=emphasis), expected)
    everything = OhemCrossEntropy(weight, min_kept_fraction=1)
    torch.testing.assert_close(everything(logits, labels, emphasis=emphasis), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_of_parts_add_up(smoothing):
    torch.manual_seed(2)
    loss = CrossEntropy(torch.tensor([0.5, 1, 2, 4, 8]), label_smoothing=smoothing)
    logits, labels = torch.randn(4, 5, 6, 6), torch.randint(0, 5, (4, 6, 6))
    labels[0, 1:] = 255
    emphasis = 1 + torch.rand(4, 6, 6)
    parts = [slice(0, 1), slice(1, 4)]
    mass = sum(loss.mass(labels[part], emphasis[part]) for part in parts)
    shares = [loss(logits[part], labels[part], emphasis=emphasis[part], mass=mass) for part in parts]
    torch.testing.assert_close(sum(shares), loss(logits, labels, emphasis=emphasis))
    means = [loss(logits[part], labels[part], emphasis=emphasis[part]) for part in parts]
    assert abs(sum(means) / 2 - sum(shares)) > 0.01


@pytest.mark.parametrize("radius", [1, 3])
def test_boundary_band_matches_brute_force(radius):
    rng = np.random.default_rng(3)
    labels = rng.choice([0, 0, 0, 0, 4, 10, 255], (2, 5, 7)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    expected = np.zeros(labels.shape, bool)
    for image, row, column in np.ndindex(labels.shape):
        rows = slice(max(row - radius, 0), row + radius + 1)
        columns = slice(max(column - radius, 0), column + radius + 1)
        seen = set(labels[image, rows, columns].ravel().tolist()) - {255}
        expected[image, row, column] = len(seen) > 1
    assert 0.05 < expected.mean() < 0.95
    assert np.array_equal(boundary_band(torch.from_numpy(labels), radius).numpy(), expected)


def test_distillation_matches_hand_computed_value():
    # Probabilities at temperature 2 are the softmax of half the logits.
    teacher, student = torch.tensor([0.8, 0.2]), torch.tensor([0.5, 0.5])
    logits = [(2 * probabilities.log()).view(1, 2, 1, 1).expand(1, 2, 1, 3) for probabilities in (student, teacher)]
    divergence = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    labels = torch.tensor([[[0, 1, 255]]])
    assert distillation_loss(*logits, labels, 2.0).item() == pytest.approx(4 * divergence, rel=1e-5)
    assert distillation_loss(*logits, labels, 2.0, torch.tensor(8.0)).item() == pytest.approx(divergence, rel=1e-5)
    wild = logits[0].clone()
    wild[..., 2] = torch.tensor([100.0, -100.0])[:, None]
    assert distillation_loss(wild, logits[1], labels, 2.0).item() == pytest.approx(4 * divergence, rel=1e-5)
    assert distillation_loss(*logits, torch.full((1, 1, 3), 255), 2.0).item() == 0


def test_lovasz_of_certain_predictions_is_one_minus_iou():
    rng = np.random.default_rng(4)
    predicted, labels = rng.integers(0, 4, (2, 16, 12)), rng.choice([0, 1, 3, 255], (2, 16, 12))
    logits = 1e4 * F.one_hot(torch.from_numpy(predicted), 4).permute(0, 3, 1, 2).float()
    logits.requires_grad_()
    loss = lovasz_softmax(logits, torch.from_numpy(labels))
    predicted, labels = predicted[:, ::2, ::2], labels[:, ::2, ::2]
    known = labels != 255
    present = [(predicted == k, labels == k) for k in (0, 1, 3)]
    ious = [(one & other).sum() / ((one | other) & known).sum() for one, other in present]
    assert loss.item() == pytest.approx(1 - np.mean(ious), abs=1e-6)


def test_lovasz_matches_its_definition():
    """The sum over pixels by descending error of error * increase of 1 - IoU, for one class (Berman et al., Eq. 8)."""
    torch.manual_seed(5)
    logits, labels = torch.randn(1, 2, 6, 8), torch.randint(0, 2, (1, 6, 8))
    losses = []
    for k in (0, 1):
        probability = logits.softmax(1)[0, k, ::2, ::2].flatten().tolist()
        truth = (labels[0, ::2, ::2] == k).flatten().tolist()
        errors = sorted(((abs(t - p), t) for p, t in zip(probability, truth, strict=True)), reverse=True)
        loss, before, missed, false = 0.0, 0.0, 0, 0
        for error, is_class in errors:
            missed, false = missed + is_class, false + (not is_class)
            now = (missed + false) / (sum(truth) + false)
            loss, before = loss + error * (now - before), now
        losses.append(loss)
    assert lovasz_softmax(logits, labels).item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(torch.ones(5)), OhemCrossEntropy(), lovasz_softmax])
def test_all_void_batch_has_zero_loss(loss):
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
    assert OhemCrossEntropy(threshold=0.7, min_kept_fraction=0)(logits, labels).item() == pytest.approx(hard, rel=1e-5)
    hardest = OhemCrossEntropy(threshold=0.1, min_kept_fraction=1 / 4)(logits, labels)
    assert hardest.item() == pytest.approx(-math.log(0.2), rel=1e-5)
    assert OhemCrossEntropy(threshold=0.7, min_kept_fraction=1 / 4)(logits, labels).item() == pytest.approx(
        hard, rel=1e-5
    )
    three = -(math.log(0.8) + math.log(0.6) + math.log(0.2)) / 3
    assert OhemCrossEntropy(threshold=0.7, min_kept_fraction=3 / 4)(logits, labels).item() == pytest.approx(
        three, rel=1e-5
    )
    # If fewer pixels are labelled than should be kept, all of them are kept.
    labels[..., 2:] = 255
    both = -(math.log(0.9) + math.log(0.8)) / 2
    assert OhemCrossEntropy(min_kept_fraction=1)(logits, labels).item() == pytest.approx(both, rel=1e-5)


def test_ohem_averages_parts_by_labelled_pixels():
    torch.manual_seed(4)
    loss = create_loss("ohem", torch.tensor([1.0, 2.0, 3.0]), ohem_threshold=0.4, ohem_min_kept=0.01)
    logits, labels = 2 * torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    labels[0, 3:] = 255
    masses = torch.stack([loss.mass(labels[:1]), loss.mass(labels[1:])])
    means = torch.stack([loss(logits[:1], labels[:1]), loss(logits[1:], labels[1:])])
    assert means[0] != means[1]
    shares = [loss(logits[i : i + 1], labels[i : i + 1], mass=masses.sum()) for i in range(2)]
    torch.testing.assert_close(sum(shares), (means * masses).sum() / masses.sum())


def test_schedule_matches_hand_computed_values():
    def rate(iteration):
        return warmup_poly(iteration, 1000, warmup=100, warmup_factor=0.25, power=0.9)

    assert rate(0) == pytest.approx(0.25)
    assert rate(50) == pytest.approx(0.625)
    assert rate(100) == 1
    assert rate(550) == pytest.approx(0.5**0.9)
    assert rate(999) == pytest.approx((1 / 900) ** 0.9)
    assert warmup_poly(0, 10, warmup=0, warmup_factor=0.3, power=0.9) == 1
    # Runs that end during warm-up.
    for warmup in (10, 18):
        last = warmup_poly(9, 10, warmup=warmup, warmup_factor=0.1, power=0.9)
        assert last == pytest.approx(0.1 + 0.9 * 9 / warmup)
