"""Augmentation of whole batches on the device that holds them: the views that ``augment.apply_view`` makes, in PyTorch.

Resizing, cropping, mirroring and padding are linear along each axis, so that each image has one matrix for its rows and
one for its columns. Both are picked row by row out of a table of all scales that was computed once, and two batched
matrix products make all views, whatever their scales. Images differ from OpenCV's by rounding, labels by nothing.
"""

from collections.abc import Sequence

import numpy as np
import torch

from lsabinet_core.labels import VOID
from lsabinet_core.resize_weights import area_weights, linear_weights

from .augment import GREY, Augmentation, View, nearest_pixels, scaled_size

_PADDING = 0
"""The row of an axis' table that takes nothing from the image."""


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Copy a small array without waiting for what the device is doing."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class _Axis:
    """For each coordinate of each resized length: which pixels of the original it is made of."""

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
        """int64 (crop,): the table's row for each coordinate of a crop."""
        coordinates = corner + np.arange(crop)
        inside = (coordinates >= 0) & (coordinates < scaled)
        return np.where(inside, self._first[scaled] + coordinates, _PADDING)


class DeviceAugmentation:
    """Makes views of images that are all of one size.

    Args:
        settings: what the views are drawn from.
        size: (height, width) of every image.
        fill: colour (BGR, 0..255) of padding, which is labelled void.
        device: where the images are.
        zoom: as ``draw_view`` was given.
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
        """
        Args:
            images: uint8 (N, H, W, 3) BGR.
            labels: uint8 (N, H, W).
            views: one for each image.

        Returns:
            images uint8 (N, h, w, 3) and labels uint8 (N, h, w) of ``crop_size``, on the device.
        """
        height, width = self.crop_size
        rows = np.empty((len(views), height + width), np.int64)
        for row, view in zip(rows, views):
            row[:height] = self._vertical.rows(view.scaled[0], view.corner[0], height)
            columns = self._horizontal.rows(view.scaled[1], view.corner[1], width)
            row[height:] = columns[::-1] if view.mirrored else columns
        vertical, horizontal = to_device(rows, self.device).split((height, width), dim=1)
        padding = (vertical == _PADDING)[:, :, None] | (horizontal == _PADDING)[:, None, :]

        # In full precision, whatever the network computes in: half of it has fewer levels than a byte.
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
