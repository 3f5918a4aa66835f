"""Low-resolution logits to masks at the camera's size."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .backends.transfer import download
from .cells import LEAST_SCALE, mask_by_cells

LARGEST_LOGIT = 60.0
"""Up to this, exp(logit) and exp(-logit), summed over classes, are well within float32."""

LEAST_SUM = 1e-30
"""Sums of probabilities below this have lost terms that float32 cannot hold."""


def masks_from_logits(
    logits: torch.Tensor, size: tuple[int, int], *, confidence: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Enlarge logits to the frames' size (bilinear, half-pixel centres) and take the best class of each pixel.

    Args:
        logits: float (N, C, h, w), C at most 255, on any device.
        size: (H, W) of the frames.
        confidence: whether to compute it; it needs the softmax of every pixel.

    Returns:
        Class ids, uint8 (N, H, W), and ``round(255 * probability of that class)``, uint8 (N, H, W) or None.
    """
    logits = logits.detach().float()
    if logits.device.type != "cpu":
        return _on_device(logits, size, confidence)
    images = logits.contiguous().numpy()
    if not confidence:
        return _stack([_mask(image, size) for image in images]), None
    masks, confidences = zip(*(_mask_and_confidence(image, size) for image in images), strict=True)
    return _stack(masks), _stack(confidences)


def _stack(planes: Sequence[np.ndarray]) -> np.ndarray:
    """As np.stack, without a copy of a single one."""
    return np.stack(planes) if len(planes) > 1 else planes[0][None]


def _on_device(logits: torch.Tensor, size: tuple[int, int], confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
    planes = torch.empty(1 + confidence, len(logits), *size, dtype=torch.uint8, device=logits.device)
    # Image by image: all classes of a large frame take several hundred MB.
    for index, image in enumerate(logits):
        enlarged = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
        best, ids = enlarged.max(dim=0)
        planes[0, index] = ids
        if confidence:
            # The winner's softmax is exp(best) / sum(exp) = 1 / sum(exp(logit - best)).
            probability = enlarged.sub_(best).exp_().sum(dim=0).reciprocal_()
            planes[1, index] = probability.mul_(255).round_()
    masks, *confidences = download(planes)
    return masks, confidences[0] if confidences else None


def _mask(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = logits.shape[1:]
    if min(size[0] / height, size[1] / width) >= LEAST_SCALE:
        return mask_by_cells(logits, size)
    return _best_class(logits, size)[0]


def _mask_and_confidence(logits: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Class ids and ``round(255 * softmax probability)`` of them, uint8 (H, W) each."""
    if max(logits.max(), -logits.min()) > LARGEST_LOGIT:
        # What is subtracted from all classes alike cancels out, before the enlargement as after it.
        peak = logits.max(0)
        logits = logits - (peak + np.log(np.exp(logits - peak).sum(0)))
    total = np.empty(size, dtype=np.float32)
    # The softmax needs every class enlarged, so that the mask costs less here than by cells; it is the same but for
    # classes that only rounding tells apart.
    mask, best = _best_class(logits, size, total)
    if total.min() < LEAST_SUM:
        return mask, _on_device(torch.from_numpy(logits)[None], size, True)[1][0]
    cv2.exp(best, dst=best)
    return mask, cv2.divide(best, total, scale=255, dtype=cv2.CV_8U)


def _best_class(
    logits: np.ndarray, size: tuple[int, int], total: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Class ids, uint8 (H, W), and their logits, float32 (H, W); ``total`` takes the sum over classes of exp(logit)."""
    # Class by class, so that the working set is a few planes that stay in cache: several times as fast as enlarging all
    # classes first.
    mask = np.zeros(size, dtype=np.uint8)
    best, plane = np.empty((2, *size), dtype=np.float32)
    wins = np.empty(size, dtype=np.uint8)
    _enlarge(logits[0], best)
    if total is not None:
        cv2.exp(best, dst=total)
    for class_id in range(1, len(logits)):
        _enlarge(logits[class_id], plane)
        np.greater(plane, best, out=wins.view(bool))
        np.maximum(best, plane, out=best)
        # Ids rise from class to class, so that the newest winner is the largest.
        wins *= np.uint8(class_id)
        np.maximum(mask, wins, out=mask)
        if total is not None:
            cv2.exp(plane, dst=plane)
            total += plane
    return mask, best


def _enlarge(plane: np.ndarray, out: np.ndarray) -> None:
    cv2.resize(plane, out.shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
