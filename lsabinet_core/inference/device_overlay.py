"""Masks as colour images, computed on a GPU."""

import threading

import numpy as np
import torch

from lsabinet_core.labels import LabelSet

from .backends.transfer import PinnedUpload, download
from .overlay import check_overlay, palette


class DeviceOverlay:
    """Like ``overlay.blend``, within one level of it.

    Args:
        device: a GPU.
        label_set: provides the colours.
    """

    def __init__(self, device: torch.device, label_set: LabelSet):
        self._frame, self._mask = PinnedUpload(device), PinnedUpload(device)
        # The upload buffers are reused, and several threads may use this object.
        self._turn = threading.Lock()
        self._device = device
        self._select(label_set)

    @torch.inference_mode()
    def __call__(
        self, frame: np.ndarray, mask: np.ndarray, alpha: float, label_set: LabelSet | None = None
    ) -> np.ndarray:
        check_overlay(frame, mask)
        with self._turn:
            if label_set is not None and label_set != self._label_set:
                self._select(label_set)
            colors = self._palette[self._mask(mask).int()]
            return download(self._frame(frame).float().lerp_(colors, alpha).round_().to(torch.uint8))

    def _select(self, label_set: LabelSet) -> None:
        self._label_set = label_set
        self._palette = torch.from_numpy(palette(label_set)[:, 0]).to(self._device, torch.float32)
