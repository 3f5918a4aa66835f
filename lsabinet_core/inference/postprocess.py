"""Conversion of low-resolution logits to masks of the frames' size."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .backends.transfer import download
from .cells import MIN_SCALE, mask_by_cells, overtake

EXPONENTS = (-60.0, 80.0)
"""If the maxima of the upsampled logits are between these, sums of up to 255 exponentials fit into float32."""

MASK_IN_CLASSES = 5
"""The time of a mask by cells, in classes whose exponentials are summed in that time."""

MAX_KEPT_PIXELS = 1920 * 1200
"""Maximum size of planes that are kept for the next frame; larger ones are allocated for each, to save memory."""


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
    find = mask_by_cells if by_cells else _best_class
    if not confidence:
        return find(logits, size, None if by_cells else _workspace.plane("best", size)), None
    # NaN fails the comparison as well.
    if not logits.max() <= EXPONENTS[1]:
        return find(logits, size), _exact_confidence(logits, size)
    # A second thread sums the exponentials of the first classes while this one finds the mask and sums the others.
    two_threads = torch.get_num_threads() > 1
    ahead = min(len(logits), (len(logits) + MASK_IN_CLASSES) // 2) if by_cells and two_threads else len(logits)
    compute = partial(_sum_of_exponentials, logits[:ahead], size)
    first = _workspace.in_second_thread(compute) if two_threads else compute
    best = _workspace.plane("best", size)
    mask = find(logits, size, best)
    rest = _sum_of_exponentials(logits[ahead:], size) if ahead < len(logits) else None
    total = first()
    # Bilinear upsampling stays within the range of its input, which has fewer values to check.
    if not (logits.min() >= EXPONENTS[0] or best.min() >= EXPONENTS[0]):
        return mask, _exact_confidence(logits, size)
    if rest is not None:
        total += rest
    cv2.exp(best, dst=best)
    return mask, cv2.divide(best, total, scale=255, dtype=cv2.CV_8U)


def _exact_confidence(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The confidence, uint8 (H, W), of logits whose exponentials do not fit into float32."""
    _, confidences = _on_device(torch.from_numpy(logits)[None], size, True)
    assert confidences is not None, "the confidence was requested"
    return confidences[0]


# Classes are processed one by one, so that the working set is a few planes that stay in the cache: several times faster
# than upsampling all classes first.


def _best_class(logits: np.ndarray, size: tuple[int, int], best: np.ndarray | None = None) -> np.ndarray:
    """Class ids, uint8 (H, W); ``best``, float32 (H, W), receives the maximum of the upsampled logits."""
    mask = np.zeros(size, dtype=np.uint8)
    best = np.empty(size, dtype=np.float32) if best is None else best
    plane = _workspace.plane("class", size)
    _enlarge(logits[0], best)
    for class_id in range(1, len(logits)):
        _enlarge(logits[class_id], plane)
        overtake(mask, best, class_id, plane)
    return mask


def _sum_of_exponentials(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sum over C of exp(upsampled logits), float32 (H, W), valid until the calling thread calls this again."""
    total, plane = _workspace.plane("total", size), _workspace.plane("class", size)
    _enlarge(logits[0], total)
    cv2.exp(total, dst=total)
    for class_logits in logits[1:]:
        _enlarge(class_logits, plane)
        cv2.exp(plane, dst=plane)
        total += plane
    return total


def _enlarge(plane: np.ndarray, out: np.ndarray) -> None:
    cv2.resize(plane, out.shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)


class _Workspace(threading.local):
    """What each thread keeps from one frame to the next: planes and a second thread.

    New planes for each frame can take as long as the computation: in some states of the heap, the kernel must clear and
    map their pages every time.
    """

    def __init__(self) -> None:
        self._planes: dict[str, np.ndarray] = {}
        self._second: ThreadPoolExecutor | None = None

    def plane(self, purpose: str, size: tuple[int, int]) -> np.ndarray:
        """A plane, float32 (H, W), with any content: the same memory at each call with that purpose."""
        pixels = size[0] * size[1]
        if pixels > MAX_KEPT_PIXELS:
            return np.empty(size, dtype=np.float32)
        kept = self._planes.get(purpose)
        if kept is None or kept.size < pixels:
            kept = self._planes[purpose] = np.empty(pixels, dtype=np.float32)
        return kept[:pixels].reshape(size)

    def in_second_thread(self, compute: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
        """Begin ``compute`` in this thread's second thread; the function returned waits for its result."""
        if self._second is None:
            self._second = ThreadPoolExecutor(1, thread_name_prefix="confidence")
        return self._second.submit(compute).result


_workspace = _Workspace()
