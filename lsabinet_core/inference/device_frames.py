"""Camera frames to the images that the network takes, on the device that it runs on."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lsabinet_core.resize_weights import area_weights, linear_weights

from .backends.transfer import PinnedUpload
from .preprocess import shrinks


class DeviceFrames:
    """As ``preprocess.stack_frames``, for a GPU: frames cross the bus as they are, and the GPU resizes them.

    Args:
        device: where the images are wanted.
    """

    def __init__(self, device: torch.device):
        self._device = device
        # A page-locked buffer for each place in the list: a copy may still be under way when the next begins.
        self._uploads: list[PinnedUpload] = []

    def __call__(self, frames: Sequence[np.ndarray], size: tuple[int, int], order: str = "bgr") -> Tensor:
        """uint8 (N, H, W, 3), BGR, contiguous. Arguments as ``stack_frames``; the frames have been read at return."""
        self._uploads += [PinnedUpload(self._device) for _ in range(len(frames) - len(self._uploads))]
        batch = torch.empty(len(frames), *size, 3, dtype=torch.uint8, device=self._device)
        for frame, upload, target in zip(frames, self._uploads, batch, strict=False):
            image = resize(upload(frame), size)
            target.copy_(image if order == "bgr" else image.flip(2))
        return batch


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (h, w, 3) to uint8 (H, W, 3), within one level of ``stack_frames``, whose sums are rounded earlier."""
    if image.shape[:2] == size:
        return image
    # Sums over neighbours along one axis and then the other: two products of matrices, which GPUs are made for; most of
    # all in fp16, which holds 0..255 exactly and sums in fp32.
    dtype = torch.float32 if image.device.type == "cpu" else torch.float16
    kind = area_weights if shrinks(image.shape[:2], size) else linear_weights
    rows, columns = (_weights(kind, *sides, image.device, dtype) for sides in zip(image.shape[:2], size, strict=True))
    resized = torch.einsum("Hh,hwc->Hwc", rows, image.to(dtype))
    resized = torch.einsum("Ww,Hwc->HWc", columns, resized)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=32)
def _weights(
    kind: Callable[[int, int], np.ndarray], old: int, new: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    # Kept from frames in inference mode for those outside of it.
    with torch.inference_mode(False):
        return torch.from_numpy(kind(old, new)).to(device, dtype)
