"""Conversion of camera frames to input images of the network, on its device."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lsabinet_core.resize_weights import area_weights, linear_weights

from .backends.transfer import PinnedUpload
from .preprocess import shrinks


class DeviceFrames:
    """Like ``preprocess.stack_frames``, for a GPU: full-size frames are uploaded, and the GPU resizes them.

    Args:
        device: the device of the images.
    """

    def __init__(self, device: torch.device):
        self._device = device
        # One page-locked buffer per position in the list: a copy may still be running when the next one starts.
        self._uploads: list[PinnedUpload] = []

    def __call__(self, frames: Sequence[np.ndarray], size: tuple[int, int], order: str = "bgr") -> Tensor:
        """uint8 (N, H, W, 3), BGR, contiguous. Arguments as ``stack_frames``; on return the frames may be
        overwritten."""
        self._uploads += [PinnedUpload(self._device) for _ in range(len(frames) - len(self._uploads))]
        batch = torch.empty(len(frames), *size, 3, dtype=torch.uint8, device=self._device)
        for frame, upload, target in zip(frames, self._uploads, batch, strict=False):
            image = resize(upload(frame), size)
            target.copy_(image if order == "bgr" else image.flip(2))
        return batch


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (h, w, 3) to uint8 (H, W, 3), within one level of ``stack_frames``, which rounds its sums earlier."""
    old = (image.shape[0], image.shape[1])
    if old == size:
        return image
    # Weighted sums along one axis and then the other: two matrix products, which are fast on GPUs, especially in fp16,
    # which represents 0..255 exactly and accumulates in fp32.
    dtype = torch.float32 if image.device.type == "cpu" else torch.float16
    kind = area_weights if shrinks(old, size) else linear_weights
    rows, columns = (_weights(kind, *sides, image.device, dtype) for sides in zip(old, size, strict=True))
    resized = torch.einsum("Hh,hwc->Hwc", rows, image.to(dtype))
    resized = torch.einsum("Ww,Hwc->HWc", columns, resized)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=32)
def _weights(
    kind: Callable[[int, int], np.ndarray], old: int, new: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    # The cached tensors are also used outside inference mode.
    with torch.inference_mode(False):
        return torch.from_numpy(kind(old, new)).to(device, dtype)
