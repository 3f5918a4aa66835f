"""Losses on logits (N, C, H, W) and labels (N, H, W) with 255 = void."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.errors import DatasetError, RecipeError
from lsabinet_core.labels import VOID


def class_weights(pixels: np.ndarray) -> np.ndarray:
    """ENet's weights 1 / ln(1.10 + p) of C classes (Paszke et al., 2016), p a class's share of the labelled pixels.

    Args:
        pixels: int64 (C,), labelled pixels of each class; void is not among them.

    Returns:
        float32 (C,); 1.35 for a class that fills every image, 10.5 for one that never appears.
    """
    total = pixels.sum()
    if total == 0:
        raise DatasetError("the training split has no labelled pixel: nothing can be learnt from it")
    return (1 / np.log(1.10 + pixels / total)).astype(np.float32)


class CrossEntropy(nn.Module):
    """Mean cross entropy over the labelled pixels, weighted by class where ``weight`` (C,) is given.

    A batch without a labelled pixel gives 0, not NaN.
    """

    def __init__(self, weight: Tensor | None = None):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        labels = labels.long()
        total = F.cross_entropy(logits.float(), labels, self.weight, ignore_index=VOID, reduction="sum")
        known = labels != VOID
        mass = known.sum() if self.weight is None else (self.weight[labels.where(known, 0)] * known).sum()
        return total / mass.clamp(min=1e-6)


class OhemCrossEntropy(nn.Module):
    """Cross entropy over the hard pixels only: online hard example mining (Shrivastava et al., CVPR 2016).

    A pixel is hard where the true class's probability is under ``threshold``; at least ``min_kept_fraction`` of the
    batch's pixels, the hardest ones, are kept.
    """

    def __init__(self, weight: Tensor | None = None, *, threshold: float = 0.7, min_kept_fraction: float = 1 / 16):
        super().__init__()
        self.register_buffer("weight", weight)
        self.highest_easy_loss = float(-np.log(threshold))
        self.min_kept_fraction = min_kept_fraction

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        labels = labels.long()
        logits = logits.float()
        valid = labels != VOID
        kept = min(int(self.min_kept_fraction * labels.numel()), int(valid.sum()))
        if kept == 0:
            return logits.sum() * 0
        plain = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")[valid]
        smallest_kept = plain.detach().topk(kept).values[-1]
        hard = plain.detach() >= smallest_kept.clamp(max=self.highest_easy_loss)
        if self.weight is None:
            return plain[hard].mean()
        weight = self.weight[labels[valid][hard]]
        return (plain[hard] * weight).sum() / weight.sum()


def create_loss(name: str, weight: Tensor | None) -> nn.Module:
    """``cross_entropy`` or ``ohem`` (threshold 0.7, one pixel in 16 at least), with class weights (C,) or None."""
    if name == "cross_entropy":
        return CrossEntropy(weight)
    if name == "ohem":
        return OhemCrossEntropy(weight)
    raise RecipeError(f"unknown loss {name!r}: choose cross_entropy or ohem")
