"""Conversion of low-resolution logits to masks of the frames' size."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .backends.transfer import download
from .cells import MIN_SCALE, mask_by_cells, overtake

EXPONENTS = (-60.0, 80.0)
"""If the maxima of the upsampled logits are between these, sums of up to 255 exponentials fit into float32."""


def masks_from_logits(
    logits: torch.Tensor, size: tuple[int, int], *, confidence: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Upsample logits to the frames' size (bilinear, half-pixel centres) and take the best class of each pixel.

    Args:
        logits: float (N, C, h, w), C at most 255, on any device.
        size: (H, W) of the frames.
        confidence: whether to compute the confidence, which needs the softmax of every pixel.

    Returns:
        Class ids, uint8 (N, H, W), and ``round(255 * probability of that class)``, uint8 (N, H, W) or None.
    """
    logits = logits.detach().float()
    if logits.device.type != "cpu":
        return _on_device(logits, size, confidence)
    masks, confidences = zip(*(_on_cpu(image, size, confidence) for image in logits.contiguous().numpy()), strict=True)
    return _stack(masks), _stack(confidences) if confidence else None


def _stack(planes: Sequence[np.ndarray]) -> np.ndarray:
    """As np.stack, but without copying a single plane."""
    return np.stack(planes) if len(planes) > 1 else planes[0][None]


def _on_device(logits: torch.Tensor, size: tuple[int, int], confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
    planes = torch.empty(1 + confidence, len(logits), *size, dtype=torch.uint8, device=logits.device)
    # One image at a time: all classes of a large frame take several hundred MB.
    for index, image in enumerate(logits):
        enlarged = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
        best, ids = enlarged.max(dim=0)
        planes[0, index] = ids
        if confidence:
            # The softmax of the winning class is exp(best) / sum(exp) = 1 / sum(exp(logit - best)).
            probability = enlarged.sub_(best).exp_().sum(dim=0).reciprocal_()
            planes[1, index] = probability.mul_(255).round_()
    masks, *confidences = download(planes)
    return masks, confidences[0] if confidences else None


def _on_cpu(logits: np.ndarray, size: tuple[int, int], confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
    by_cells = min(size[0] / logits.shape[1], size[1] / logits.shape[2]) >= MIN_SCALE
    best = np.empty(size, dtype=np.float32) if confidence or not by_cells else None
    mask = mask_by_cells(logits, size, best) if best is None or by_cells else _best_class(logits, size, best)
    return mask, _confidence(logits, best) if confidence and best is not None else None


# Classes are processed one by one, so that the working set is a few planes that stay in the cache: several times faster
# than upsampling all classes first.


def _best_class(logits: np.ndarray, size: tuple[int, int], best: np.ndarray) -> np.ndarray:
    """Class ids, uint8 (H, W); ``best``, float32 (H, W), receives the maximum of the upsampled logits."""
    mask = np.zeros(size, dtype=np.uint8)
    plane = np.empty_like(best)
    _enlarge(logits[0], best)
    for class_id in range(1, len(logits)):
        _enlarge(logits[class_id], plane)
        overtake(mask, best, class_id, plane)
    return mask


def _confidence(logits: np.ndarray, best: np.ndarray) -> np.ndarray:
    """``round(255 * softmax probability of the best class)``, uint8 (H, W), from its logit; overwrites ``best``."""
    # Bilinear upsampling stays within the range of its input, which has fewer values to check.
    if not (_can_be_summed(logits) or _can_be_summed(best)):
        _, confidences = _on_device(torch.from_numpy(logits)[None], best.shape, True)
        assert confidences is not None, "the confidence was requested"
        return confidences[0]
    total, plane = np.empty_like(best), np.empty_like(best)
    _enlarge(logits[0], total)
    cv2.exp(total, dst=total)
    for class_logits in logits[1:]:
        _enlarge(class_logits, plane)
        cv2.exp(plane, dst=plane)
        total += plane
    cv2.exp(best, dst=best)
    return cv2.divide(best, total, scale=255, dtype=cv2.CV_8U)


def _can_be_summed(exponents: np.ndarray) -> bool:
    return EXPONENTS[0] <= exponents.min() <= exponents.max() <= EXPONENTS[1]


def _enlarge(plane: np.ndarray, out: np.ndarray) -> None:
    cv2.resize(plane, out.shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
