"""Mixing the images of a batch, with their labels: CutMix and ClassMix.

CutMix (Yun et al., ICCV 2019) pastes a rectangle of another image, ClassMix (Olsson et al., WACV 2021) all pixels of a
random half of the classes of another image. As in ``augment``, what is drawn and how it is applied are apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lsabinet_core.labels import VOID

from .augment import Augmentation
from .device_augment import to_device


@dataclass(frozen=True)
class Mix:
    """What is pasted into one image.

    Attributes:
        donor: position in the batch of the image that it comes from.
        rectangle: (top, left, bottom, right) in pixels, the last two exclusive, or None for ClassMix.
        order: for ClassMix, float64 (255,): of the donor's classes, the half with the lowest numbers is pasted.
    """

    donor: int
    rectangle: tuple[int, int, int, int] | None = None
    order: np.ndarray | None = None


def draw_mixes(settings: Augmentation, count: int, rng: np.random.Generator) -> list[Mix | None]:
    """What is pasted into each image of a batch of ``count``; None for an image that stays as it is."""
    if count < 2 or not (settings.cutmix or settings.classmix):
        return [None] * count
    # All images take from the neighbour at one distance: each is donor once, none its own.
    distance = int(rng.integers(1, count))
    mixes: list[Mix | None] = []
    for position, chance in enumerate(rng.random(count)):
        donor = (position + distance) % count
        if chance < settings.cutmix:
            mixes.append(Mix(donor, rectangle=_draw_rectangle(settings.crop_size, rng)))
        elif chance < settings.cutmix + settings.classmix:
            mixes.append(Mix(donor, order=rng.random(VOID)))
        else:
            mixes.append(None)
    return mixes


def mix_batch(
    images: torch.Tensor, labels: torch.Tensor, mixes: Sequence[Mix | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste as drawn, on the device of the tensors. Donors give what they were before they were mixed themselves.

    Args:
        images: uint8 (M, H, W, 3).
        labels: uint8 (M, H, W).
        mixes: for the first N of the images; the others, if any, are donors only.

    Returns:
        the first N images and labels.
    """
    count, device = len(mixes), labels.device
    if not any(mixes):
        return images[:count], labels[:count]
    table = np.zeros((count, 6 + VOID + 1))
    for position, mix in enumerate(mixes):
        table[position, 0] = position if mix is None else mix.donor
        if mix is not None and mix.rectangle is not None:
            table[position, 1:5] = mix.rectangle
        elif mix is not None:
            table[position, 5] = 1
            table[position, 6:-1] = mix.order
    table = to_device(table, device)
    donors = table[:, 0].long()
    given = labels[donors]
    pasted = _inside(table[:, 1:5], given.shape[1:]) | _half_of_classes(given, table[:, 6:], table[:, 5] > 0)
    return (
        torch.where(pasted[..., None], images[donors], images[:count]),
        torch.where(pasted, given, labels[:count]),
    )


def _draw_rectangle(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Of a uniformly drawn share of the area and the image's proportions, around any pixel, clipped to the image."""
    side = np.sqrt(rng.random())
    ranges = [
        (max(0, round(centre - side * length / 2)), min(length, round(centre + side * length / 2)))
        for length, centre in zip(size, rng.random(2) * size)
    ]
    (top, bottom), (left, right) = ranges
    return top, left, bottom, right


def _inside(rectangles: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """bool (N, H, W)"""
    top, left, bottom, right = rectangles[:, :, None].unbind(1)
    row, column = (torch.arange(length, device=rectangles.device) for length in size)
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, :, None] & columns[:, None, :]


def _half_of_classes(labels: torch.Tensor, order: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """bool (N, H, W): pixels of the first half, rounded down, of the classes of each wanted label, void left out."""
    ids = labels.flatten(1).long()
    present = torch.zeros(order.shape, dtype=torch.bool, device=labels.device).scatter_(1, ids, True)
    present[:, VOID] = False
    rank = order.masked_fill(~present, float("inf")).argsort(1).argsort(1)
    chosen = (rank < (present.sum(1) // 2)[:, None]) & wanted[:, None]
    return chosen.gather(1, ids).view(labels.shape)
