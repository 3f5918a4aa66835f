"""Masks for people, made on a GPU."""

import numpy as np
import torch

from lsabinet_core.labels import LabelSet

from .backends.transfer import PinnedUpload, download
from .overlay import palette


class DeviceOverlay:
    """As ``overlay.blend`` for one label set, within one level of it.

    Args:
        device: a GPU.
        label_set: whose colours to take.
    """

    def __init__(self, device: torch.device, label_set: LabelSet):
        self._frame, self._mask = PinnedUpload(device), PinnedUpload(device)
        self._palette = torch.from_numpy(palette(label_set)[:, 0]).to(device, torch.float32)

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray, mask: np.ndarray, alpha: float) -> np.ndarray:
        colors = self._palette[self._mask(mask).int()]
        return download(self._frame(frame).float().lerp_(colors, alpha).round_().to(torch.uint8))
