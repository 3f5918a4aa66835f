"""Batched augmentation on the training device: ``augment.apply_view`` in PyTorch.

Resizing, cropping, mirroring and padding are separable linear operations, so that each view is one matrix for the rows
and one for the columns of its image. Their rows are gathered from a table precomputed for all scales, and two batched
matrix products compute all views, whatever their scales. Images equal OpenCV's up to rounding; labels are identical.
"""

from collections.abc import Sequence

import numpy as np
import torch

from lsabinet_core.labels import VOID
from lsabinet_core.resize_weights import area_weights, linear_weights

from .augment import GREY, Augmentation, View, nearest_pixels, scaled_size

_PADDING = 0
"""Index of the all-zero row of the table, used for padding."""


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy a small array to the device without synchronising with it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class _Axis:
    """Resize weights and nearest indices along one axis, for every coordinate of every scaled length."""

    def __init__(self, length: int, scaled_lengths: Sequence[int], device: torch.device):
        self._first: dict[int, int] = {}
        weights, nearest = [np.zeros((1, length))], [np.zeros(1, np.int64)]
        for scaled in sorted(set(scaled_lengths)):
            self._first[scaled] = sum(map(len, nearest))
            weights.append(area_weights(length, scaled) if scaled < length else linear_weights(length, scaled))
            nearest.append(nearest_pixels(length, scaled))
        self.weights = torch.from_numpy(np.vstack(weights).astype(np.float32)).to(device)
        self.nearest = torch.from_numpy(np.concatenate(nearest)).to(device)

    def rows(self, scaled: int, corner: int, crop: int) -> np.ndarray:
        """Return int64 (crop,): the table row of each coordinate of a crop."""
        coordinates = corner + np.arange(crop)
        inside = (coordinates >= 0) & (coordinates < scaled)
        return np.where(inside, self._first[scaled] + coordinates, _PADDING)


class DeviceAugmentation:
    """Applies views to batches of images of one size.

    Args:
        settings: the settings from which the views are drawn.
        size: (height, width) of every image.
        fill: padding colour (BGR, 0..255); padding is labelled void.
        device: device of the images.
        zoom: the value passed to ``draw_view``.
    """

    def __init__(
        self,
        settings: Augmentation,
        size: tuple[int, int],
        fill: tuple[int, int, int],
        device: torch.device,
        zoom: float = 1.0,
    ):
        self.crop_size = settings.crop_size
        self.device = device
        heights, widths = zip(*(scaled_size(size, zoom * scale) for scale in settings.scales))
        self._vertical = _Axis(size[0], heights, device)
        self._horizontal = _Axis(size[1], widths, device)
        self._fill = torch.tensor(fill, dtype=torch.float32, device=device)
        self._grey = torch.tensor(GREY, dtype=torch.float32, device=device)

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, views: Sequence[View]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply one view to each image and label.

        Args:
            images: uint8 (N, H, W, 3) BGR.
            labels: uint8 (N, H, W).
            views: N views.

        Returns:
            Images uint8 (N, h, w, 3) and labels uint8 (N, h, w) of ``crop_size``, on the device.
        """
        height, width = self.crop_size
        rows = np.empty((len(views), height + width), np.int64)
        for row, view in zip(rows, views):
            row[:height] = self._vertical.rows(view.scaled[0], view.corner[0], height)
            columns = self._horizontal.rows(view.scaled[1], view.corner[1], width)
            row[height:] = columns[::-1] if view.mirrored else columns
        vertical, horizontal = to_device(rows, self.device).split((height, width), dim=1)
        padding = (vertical == _PADDING)[:, :, None] | (horizontal == _PADDING)[:, None, :]

        # In fp32 regardless of the training precision: bf16 cannot represent all 256 levels of a byte.
        with torch.autocast(self.device.type, enabled=False):
            result = torch.einsum("nyh,nhwc->nywc", self._vertical.weights[vertical], images.float())
            result = torch.einsum("nxw,nywc->nyxc", self._horizontal.weights[horizontal], result)
            result = torch.where(padding[..., None], self._fill, result.round_())
            if any(view.colours is not None for view in views):
                result = self._change_colours(result, views)

        picked = torch.arange(len(views), device=self.device)[:, None, None]
        label = labels[
            picked, self._vertical.nearest[vertical][:, :, None], self._horizontal.nearest[horizontal][:, None]
        ]
        return result.clamp_(0, 255).to(torch.uint8), label.masked_fill_(padding, VOID)

    def _change_colours(self, images: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
        matrices = np.stack([np.eye(3) if view.colours is None else view.colours for view in views])
        changes = np.column_stack([matrices.reshape(-1, 9), [view.mean_factor for view in views]])
        changes = to_device(changes.astype(np.float32), self.device)
        offsets = changes[:, 9] * (images.mean((1, 2)) @ self._grey)
        return (
            torch.einsum("nyxc,ndc->nyxd", images, changes[:, :9].view(-1, 3, 3)) + offsets.view(-1, 1, 1, 1)
        ).round_()
