"""Low-resolution logits to masks at the camera's size."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .cells import LEAST_SCALE, mask_by_cells


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
    results = [_on_cpu(image, size, confidence) for image in logits.contiguous().numpy()]
    masks = np.stack([mask for mask, _ in results])
    return masks, np.stack([certainty for _, certainty in results]) if confidence else None


def _on_device(logits: torch.Tensor, size: tuple[int, int], confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
    enlarged = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    best, ids = enlarged.max(dim=1)
    masks = ids.to(torch.uint8).cpu().numpy()
    if not confidence:
        return masks, None
    # The winner's softmax is exp(best) / sum(exp) = 1 / sum(exp(logit - best)).
    probability = (enlarged - best[:, None]).exp_().sum(dim=1).reciprocal_()
    return masks, (probability * 255).round_().to(torch.uint8).cpu().numpy()


def _on_cpu(logits: np.ndarray, size: tuple[int, int], confidence: bool) -> tuple[np.ndarray, np.ndarray | None]:
    height, width = logits.shape[1:]
    if min(height, width) > 1 and min(size[0] / height, size[1] / width) >= LEAST_SCALE:
        # With confidence too, so that asking for it cannot change a mask, not even where rounding decides.
        mask = mask_by_cells(logits, size)
        return mask, _confidence(_enlarged(logits, size)) if confidence else None
    planes = _enlarged(logits, size)
    if confidence:
        planes = list(planes)
    return _best_class(planes, size), _confidence(planes) if confidence else None


# Class by class, so that the working set is a few planes that stay in cache: about five times as fast as enlarging all
# classes and taking an argmax over them.


def _enlarged(logits: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    for plane in logits:
        yield cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def _best_class(planes: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, dtype=np.uint8)
    best = np.full(size, -np.inf, dtype=np.float32)
    for class_id, plane in enumerate(planes):
        wins = (plane > best).view(np.uint8)
        np.maximum(best, plane, out=best)
        # Ids rise from class to class, so that the newest winner is the largest.
        wins *= np.uint8(class_id)
        np.maximum(mask, wins, out=mask)
    return mask


def _confidence(planes: Iterable[np.ndarray]) -> np.ndarray:
    """``round(255 * softmax probability of the best class)``; the planes are overwritten."""
    planes = list(planes)
    best = planes[0].copy()
    for plane in planes[1:]:
        np.maximum(best, plane, out=best)
    total = np.zeros(best.shape, dtype=np.float32)
    for plane in planes:
        np.subtract(plane, best, out=plane)
        cv2.exp(plane, dst=plane)
        total += plane
    return np.rint(255 / total).astype(np.uint8)
