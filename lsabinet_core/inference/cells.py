"""The best class of each pixel of enlarged logits, without enlarging all of them.

Bilinear enlargement mixes the four logits around a pixel with weights that sum to one. Between four places that agree
on the best class, that class is the best everywhere, so only the cells on borders between classes are computed; and
there only classes that can win in one of them: one whose largest corner is below another's smallest never does. Exact
but for ties.
"""

from functools import lru_cache

import numpy as np

LEAST_SCALE = 5.0
"""From this enlargement on it pays: below, a cell has too few pixels."""

CHUNK_PIXELS = 1 << 16
"""Pixels that are computed at a time: a quarter of a megabyte per plane stays in cache."""


def mask_by_cells(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class ids, uint8 (H, W), from logits float32 (C, h, w).

    As enlarging bilinearly (half-pixel centres) to ``size`` and taking the argmax over C.
    """
    flat = logits.reshape(len(logits), -1)
    # The enlargement repeats the samples at the edges, so there are cells beyond them too.
    ids = np.pad(flat.argmax(0).astype(np.uint8).reshape(logits.shape[1:]), 1, mode="edge")
    rows, columns = _axis(logits.shape[1], size[0]), _axis(logits.shape[2], size[1])
    corner = ids[:-1, :-1]
    border = (corner != ids[:-1, 1:]) | (corner != ids[1:, :-1]) | (corner != ids[1:, 1:])
    mask = corner.take(columns.cell, axis=1).take(rows.cell, axis=0)
    cell_y, cell_x = np.nonzero(border)
    at_once = max(1, CHUNK_PIXELS // (rows.pixels.shape[1] * columns.pixels.shape[1]))
    for start in range(0, len(cell_y), at_once):
        y, x = cell_y[start : start + at_once], cell_x[start : start + at_once]
        top, bottom = (sample[y] * logits.shape[2] for sample in (rows.before, rows.after))
        left, right = columns.before[x], columns.after[x]
        corners = [flat.take(index, axis=1) for index in (top + left, top + right, bottom + left, bottom + right)]
        block = _best_in_cells(corners, rows.weights[y], columns.weights[x])
        mask[rows.pixels[y][:, :, None], columns.pixels[x][:, None, :]] = block
    return mask


class _Axis:
    """How ``count`` pixels lie among ``samples`` logits along one axis, in samples + 1 cells.

    Attributes:
        before, after: (samples + 1,) the samples on both sides of each cell; the same one at the edges.
        cell: (count,) the cell of each pixel.
        pixels: (samples + 1, S) pixels of each cell; where it has fewer than S, the last is repeated.
        weights: (samples + 1, S) float32 share of the sample after each of these pixels.
    """

    def __init__(self, samples: int, count: int):
        cells = np.arange(samples + 1)
        self.before, self.after = np.maximum(cells - 1, 0), np.minimum(cells, samples - 1)
        place = (np.arange(count) + 0.5) * samples / count + 0.5
        self.cell = np.floor(place).astype(np.intp)
        starts = np.searchsorted(self.cell, np.arange(samples + 2))
        longest = int(np.diff(starts).max())
        self.pixels = np.minimum(starts[:-1, None] + np.arange(longest), starts[1:, None] - 1)
        self.weights = (place - self.cell).astype(np.float32)[self.pixels]


@lru_cache(maxsize=32)
def _axis(samples: int, count: int) -> _Axis:
    return _Axis(samples, count)


def _best_in_cells(corners: list[np.ndarray], weights_y: np.ndarray, weights_x: np.ndarray) -> np.ndarray:
    """uint8 (M, Sy, Sx): the best class of every pixel of M cells.

    Args:
        corners: top left, top right, bottom left and bottom right logits (C, M).
        weights_y, weights_x: (M, Sy) share of the bottom, (M, Sx) of the right.
    """
    lowest = np.minimum(np.minimum(corners[0], corners[1]), np.minimum(corners[2], corners[3])).max(0)
    highest = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    # Cells last, in thousands: NumPy is slow at rows as short as a cell's.
    down, across = np.ascontiguousarray(weights_y.T), np.ascontiguousarray(weights_x.T)
    shape = (len(down), *across.shape)
    best, plane = np.full(shape, -np.inf, dtype=np.float32), np.empty(shape, dtype=np.float32)
    ids, wins = np.zeros(shape, dtype=np.uint8), np.empty(shape, dtype=np.uint8)
    for class_id in np.flatnonzero((highest >= lowest).any(1)):
        top_left, top_right, bottom_left, bottom_right = (corner[class_id] for corner in corners)
        left = top_left + (bottom_left - top_left) * down
        right = top_right + (bottom_right - top_right) * down
        np.multiply((right - left)[:, None], across, out=plane)
        plane += left[:, None]
        np.greater(plane, best, out=wins.view(bool))
        np.maximum(best, plane, out=best)
        # Ids rise from class to class, so that the newest winner is the largest.
        wins *= np.uint8(class_id)
        np.maximum(ids, wins, out=ids)
    return ids.transpose(2, 0, 1)
