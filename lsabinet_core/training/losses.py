"""Losses on logits (N, C, H, W) and labels (N, H, W) with 255 = void.

Each loss is a weighted mean over the pixels of one batch. If the batch is a part of a larger one (a micro-batch, or the
share of one process), ``mass`` is the normaliser: the total pixel weight of the larger batch. The losses and gradients
of the parts then add up to those of the larger batch.
"""

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.errors import DatasetError, RecipeError
from lsabinet_core.labels import VOID

MIN_MASS = 1e-6
"""Lower bound of the normaliser: a batch without labelled pixels has loss 0 instead of NaN."""


def class_weights(pixels: np.ndarray) -> np.ndarray:
    """ENet's weights 1 / ln(1.10 + p) of C classes (Paszke et al., 2016), with p the class's share of labelled pixels.

    Args:
        pixels: int64 (C,), labelled pixels of each class, without void.

    Returns:
        float32 (C,); 1.35 for a class that fills every image, 10.5 for one that never appears.
    """
    total = pixels.sum()
    if total == 0:
        raise DatasetError("the training split has no labelled pixels: nothing can be learned from it")
    return (1 / np.log(1.10 + pixels / total)).astype(np.float32)


def boundary_band(labels: Tensor, radius: int) -> Tensor:
    """Pixels with two classes within ``radius`` rows and columns: bool (N, H, W).

    Void is not a class: its edge is not a boundary, but two classes separated by a thin strip of void have one.
    """
    labels = labels.float()[:, None]
    void = labels == VOID
    highest = _window_maximum(labels.masked_fill(void, -VOID), radius)
    lowest = -_window_maximum((-labels).masked_fill(void, -VOID), radius)
    return (highest > lowest)[:, 0]


def _window_maximum(values: Tensor, radius: int) -> Tensor:
    """Maximum over windows of side 2 * radius + 1, computed along columns, then along rows."""
    size = 2 * radius + 1
    values = F.max_pool2d(values, (size, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(values, (1, size), stride=1, padding=(0, radius))


class CrossEntropy(nn.Module):
    """Mean cross entropy over the labelled pixels, with optional class weights ``weight`` (C,).

    Args:
        weight: weight of each class, float32 (C,).
        label_smoothing: share of the target spread over all classes (Szegedy et al., CVPR 2016), as in
            ``torch.nn.functional.cross_entropy``.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, label_smoothing: float = 0.0):
        super().__init__()
        self.register_buffer("weight", weight)
        self.label_smoothing = label_smoothing

    def mass(self, labels: Tensor, emphasis: Tensor | None = None) -> Tensor:
        """Normaliser of the loss, the total weight of the batch's pixels: float32, a scalar."""
        return self._pixel_weight(labels.long(), emphasis).sum()

    def forward(
        self, logits: Tensor, labels: Tensor, *, emphasis: Tensor | None = None, mass: Tensor | None = None
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: (N, C, H, W).
            labels: (N, H, W), 255 = void.
            emphasis: an additional weight per pixel, float (N, H, W).
            mass: normaliser of the larger batch that contains this one; None: this batch's own.
        """
        labels = labels.long()
        if mass is None:
            mass = self.mass(labels, emphasis)
        if emphasis is None:
            total = self._cross_entropy(logits, labels, "sum")
        else:
            total = (self._cross_entropy(logits, labels, "none") * emphasis).sum()
        return total / mass.clamp(min=MIN_MASS)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
        return F.cross_entropy(
            logits.float(),
            labels,
            self.weight,
            ignore_index=VOID,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )

    def _pixel_weight(self, labels: Tensor, emphasis: Tensor | None) -> Tensor:
        known = labels != VOID
        weight = known.float() if self.weight is None else self.weight[labels.where(known, 0)] * known
        return weight if emphasis is None else weight * emphasis


LOVASZ_STRIDE = 2
"""The Lovász loss uses every second row and column, because sorting all pixels is slow on a CPU."""


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász-softmax loss (Berman et al., CVPR 2018): 1 - IoU of a batch, as a function of the probabilities.

    It is the mean over the classes in ``labels``. If every probability is 0 or 1, it equals the mean of 1 - IoU;
    between these values, it is the convex closure of 1 - IoU.

    Args:
        logits: (N, C, H, W).
        labels: (N, H, W), 255 = void.

    Returns:
        A scalar in 0..1; 0 for a batch without labelled pixels.
    """
    step = slice(None, None, LOVASZ_STRIDE)
    probabilities = logits[..., step, step].float().softmax(1).transpose(0, 1).flatten(1)
    labels = labels[:, step, step].flatten()
    known = labels != VOID
    total = count = probabilities.new_zeros(())
    for class_id, probability in enumerate(probabilities):
        target = (labels == class_id).float()
        # Void pixels are sorted last and contribute nothing.
        errors, order = ((target - probability).abs() * known).sort(descending=True)
        target = target[order]
        size = target.sum()
        # 1 - IoU if the first k pixels are wrong, for each k.
        jaccard = 1 - (size - target.cumsum(0)) / (size + (1 - target).cumsum(0))
        present = size > 0
        total = total + present * (errors * jaccard.diff(prepend=jaccard.new_zeros(1))).sum()
        count = count + present
    return total / count.clamp(min=1)


class OhemCrossEntropy(CrossEntropy):
    """Cross entropy over the hard pixels only: online hard example mining (Shrivastava et al., CVPR 2016).

    A pixel is hard if the predicted probability of its true class is below ``threshold``; at least
    ``min_kept_fraction`` of the batch's pixels, the hardest ones, are kept. Mining happens within the given batch:
    the parts of a larger batch are mined separately, and their losses averaged by the weight of their labelled pixels.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        threshold: float = 0.7,
        min_kept_fraction: float = 1 / 16,
    ):
        super().__init__(weight, label_smoothing=label_smoothing)
        self.highest_easy_loss = float(-np.log(threshold))
        self.min_kept_fraction = min_kept_fraction

    def forward(
        self, logits: Tensor, labels: Tensor, *, emphasis: Tensor | None = None, mass: Tensor | None = None
    ) -> Tensor:
        labels = labels.long()
        weight = self._pixel_weight(labels, emphasis)
        hard = self._hard(logits.detach(), labels)
        total = self._cross_entropy(logits, labels, "none")
        if emphasis is not None:
            total = total * emphasis
        mean = (total * hard).sum() / (weight * hard).sum().clamp(min=MIN_MASS)
        return mean if mass is None else mean * weight.sum() / mass.clamp(min=MIN_MASS)

    def _hard(self, logits: Tensor, labels: Tensor) -> Tensor:
        plain = F.cross_entropy(logits.float(), labels, ignore_index=VOID, reduction="none")
        known = labels != VOID
        kept = int(self.min_kept_fraction * labels.numel())
        if kept == 0:
            return known & (plain >= self.highest_easy_loss)
        # Void sorts last: if fewer pixels are labelled than should be kept, all of them are kept.
        smallest_kept = plain.masked_fill(~known, -1).flatten().topk(kept).values[-1]
        return known & (plain >= smallest_kept.clamp(max=self.highest_easy_loss))


def create_loss(
    name: str,
    weight: Tensor | None,
    *,
    label_smoothing: float = 0.0,
    ohem_threshold: float = 0.7,
    ohem_min_kept: float = 1 / 16,
) -> CrossEntropy:
    """``cross_entropy`` or ``ohem``, with class weights float32 (C,) or None."""
    if name == "cross_entropy":
        return CrossEntropy(weight, label_smoothing=label_smoothing)
    if name == "ohem":
        return OhemCrossEntropy(
            weight, label_smoothing=label_smoothing, threshold=ohem_threshold, min_kept_fraction=ohem_min_kept
        )
    raise RecipeError(f"unknown loss {name!r}: choose cross_entropy or ohem")
