"""Comparison of the outputs of two engines."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from lsabinet_core.inference.postprocess import masks_from_logits

MIN_AGREEMENT = {"fp32": 0.999, "fp16": 0.995, "bf16": 0.99, "int8": 0.95}
"""Minimum share of pixels with the same class as PyTorch in fp32. For int8 this detects gross errors only: its accuracy
is judged by its mIoU, which ``lsabinet export --verify`` measures."""

Infer = Callable[[np.ndarray], torch.Tensor]


@dataclass(frozen=True)
class Parity:
    """A comparison over some images.

    Attributes:
        images: number of images.
        max_error: maximum absolute difference of the logits; None, like the next two, if only masks were compared.
        rms_error: root mean square difference of the logits.
        logit_range: largest minus smallest logit of the reference, to which the errors are relative.
        agreement: share of pixels with the same class at the network's input size; 0..1.
    """

    images: int
    max_error: float | None
    rms_error: float | None
    logit_range: float | None
    agreement: float

    @property
    def relative_error(self) -> float:
        return self._relative(self.max_error)

    @property
    def relative_rms_error(self) -> float:
        """The measure for accepting an engine: unlike ``relative_error``, it tolerates max unpooling, which moves a few
        values far if rounding changes the position of a maximum."""
        return self._relative(self.rms_error)

    def _relative(self, error: float | None) -> float:
        if error is None or self.logit_range is None:
            raise ValueError("expected a comparison of logits, got one of masks")
        return error / max(self.logit_range, 1e-12)


def compare(reference: Infer, candidate: Infer, images: Iterable[np.ndarray]) -> Parity:
    """Run both on images uint8 (H, W, 3), BGR, one at a time.

    A candidate with non-finite logits or another output shape has an infinite error and no agreement.
    """
    count, error, squares, low, high, same, pixels = 0, 0.0, 0.0, float("inf"), float("-inf"), 0, 0
    for image in images:
        size = image.shape[:2]
        expected = reference(image[None]).float().cpu().clone()
        found = candidate(image[None]).float().cpu()
        count += 1
        pixels += size[0] * size[1]
        low, high = min(low, float(expected.min())), max(high, float(expected.max()))
        if found.shape != expected.shape or not torch.isfinite(found).all():
            error = squares = float("inf")
            continue
        difference = (found - expected).abs()
        error = max(error, float(difference.max()))
        squares += float(difference.double().square().mean())
        masks = [masks_from_logits(logits, size, confidence=False)[0] for logits in (expected, found)]
        same += int((masks[0] == masks[1]).sum())
    if count == 0:
        raise ValueError("expected at least one image to compare, got none")
    return Parity(count, error, math.sqrt(squares / count), high - low, same / pixels)


def compare_masks(reference: Infer, candidate: Infer, images: Iterable[np.ndarray]) -> Parity:
    """Like ``compare``, for a candidate that returns masks, uint8 (1, H, W)."""
    count, same, pixels = 0, 0, 0
    for image in images:
        expected = masks_from_logits(reference(image[None]), image.shape[:2], confidence=False)[0]
        found = candidate(image[None]).cpu().numpy()
        count += 1
        pixels += expected.size
        same += int((found == expected).sum()) if found.shape == expected.shape else 0
    if count == 0:
        raise ValueError("expected at least one image to compare, got none")
    return Parity(count, None, None, None, same / pixels)


def make_picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3) with structure at several scales; a function of size and seed."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((*size, 3), dtype=np.float32)
    for cells in (4, 16, 64):
        rows = np.minimum(np.arange(size[0]) * cells // size[0], cells - 1)
        columns = np.minimum(np.arange(size[1]) * cells // size[1], cells - 1)
        picture += rng.uniform(0, 85, (cells, cells, 3)).astype(np.float32)[rows][:, columns]
    return picture.astype(np.uint8)
