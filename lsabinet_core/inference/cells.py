"""The best class of each pixel of upsampled logits, without upsampling all of them.

Bilinear upsampling mixes the four logits around a pixel with weights that sum to one. If four neighbouring samples
agree on the best class, that class is the best everywhere between them, so only the cells on borders between classes
are computed, and there only the classes that can win: not those whose largest corner is below another's smallest. The
result is exact except for ties.
"""

from functools import lru_cache

import cv2
import numpy as np

MIN_SCALE = 5.0
"""Minimum scale at which this is faster: below it, a cell has too few pixels."""

CHUNK_PIXELS = 1 << 18
"""Number of pixels processed at a time: a megabyte per plane stays in the CPU's cache."""


def mask_by_cells(logits: np.ndarray, size: tuple[int, int], best: np.ndarray | None = None) -> np.ndarray:
    """Class ids, uint8 (H, W), from logits float32 (C, h, w).

    Equivalent to bilinear upsampling (half-pixel centres) to ``size`` and the argmax over C.

    Args:
        best: float32 (H, W), contiguous; receives the maximum of the upsampled logits.
    """
    planes = logits.reshape(len(logits), -1)
    ids, peak = np.zeros(logits.shape[1:], dtype=np.uint8), logits[0].copy()
    for class_id in range(1, len(logits)):
        overtake(ids, peak, class_id, logits[class_id])
    # Upsampling repeats the samples at the edges, so there are cells beyond the edges as well.
    ids = cv2.copyMakeBorder(ids, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    rows, columns = _axis(logits.shape[1], size[0]), _axis(logits.shape[2], size[1])
    corner = ids[:-1, :-1]
    border = (corner != ids[:-1, 1:]) | (corner != ids[1:, :-1]) | (corner != ids[1:, 1:])
    mask = corner.take(columns.cell, axis=1).take(rows.cell, axis=0)
    if best is not None:
        # If one class is the best at all four corners, the maximum is its logit.
        cv2.resize(peak, size[::-1], dst=best, interpolation=cv2.INTER_LINEAR)
    cell_y, cell_x = np.nonzero(border)
    at_once = max(1, CHUNK_PIXELS // (len(rows.pixels) * len(columns.pixels)))
    for start in range(0, len(cell_y), at_once):
        y, x = cell_y[start : start + at_once], cell_x[start : start + at_once]
        top, bottom = (sample[y] * logits.shape[2] for sample in (rows.before, rows.after))
        left, right = columns.before[x], columns.after[x]
        corners = np.stack([top + left, top + right, bottom + left, bottom + right])
        order, contenders = _contenders(planes.take(corners, axis=1))
        y, x = y[order], x[order]
        down, across = rows.weights.take(y, axis=1), columns.weights.take(x, axis=1)
        found, largest = _best_in_cells(planes, corners[:, order], contenders, down, across)
        pixels = (rows.pixels * size[1]).take(y, axis=1)[:, None] + columns.pixels.take(x, axis=1)
        mask.reshape(-1)[pixels] = found
        if best is not None:
            best.reshape(-1)[pixels] = largest
    return mask


def overtake(ids: np.ndarray, best: np.ndarray, class_id: int | np.ndarray, plane: np.ndarray) -> None:
    """Where the logits of a class exceed the best so far, replace them and the id in place; all have the same shape.

    Call it for classes in ascending order of their ids.
    """
    wins = np.greater(plane, best).view(np.uint8)
    np.maximum(best, plane, out=best)
    # Classes arrive in ascending order, so a maximum assigns the id; faster than assigning by a mask.
    wins *= np.asarray(class_id, dtype=np.uint8)
    np.maximum(ids, wins, out=ids)


class _Axis:
    """Position of ``count`` pixels among ``samples`` logits along one axis, in samples + 1 cells.

    Attributes:
        before, after: (samples + 1,) the samples on both sides of each cell; equal at the edges.
        cell: (count,) the cell of each pixel.
        pixels: (S, samples + 1) pixels of each cell; the last is repeated if there are fewer than S.
        weights: (S, samples + 1) float32 weight of the sample after each of these pixels.
    """

    def __init__(self, samples: int, count: int):
        cells = np.arange(samples + 1)
        self.before, self.after = np.maximum(cells - 1, 0), np.minimum(cells, samples - 1)
        place = (np.arange(count) + 0.5) * samples / count + 0.5
        self.cell = np.floor(place).astype(np.intp)
        starts = np.searchsorted(self.cell, np.arange(samples + 2))
        longest = int(np.diff(starts).max())
        self.pixels = np.minimum(starts[:-1] + np.arange(longest)[:, None], starts[1:] - 1)
        self.weights = (place - self.cell).astype(np.float32)[self.pixels]


@lru_cache(maxsize=32)
def _axis(samples: int, count: int) -> _Axis:
    return _Axis(samples, count)


def _contenders(corners: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The classes that can win in a cell: those whose largest corner is not below the smallest corner of any other.

    Args:
        corners: (C, 4, M) logits at the corners of M cells.

    Returns:
        (order, classes): ``order`` (M,) sorts the cells by descending number of contenders. ``classes[k]`` has the id
        of the k-th contender, in ascending order of ids, of each cell with more than k contenders, in that order.
    """
    # Negated, so that each cell has a contender even if its logits are NaN.
    can_win = ~(corners.max(1) < corners.min(1).max(0))
    count = can_win.sum(0)
    classes = np.flatnonzero(can_win.T) % len(can_win)
    first = np.cumsum(count) - count
    order = np.argsort(-count, kind="stable")
    count, first = count[order], first[order]
    return order, [classes[first[: np.count_nonzero(count > rank)] + rank] for rank in range(count[0])]


def _best_in_cells(
    planes: np.ndarray, corners: np.ndarray, contenders: list[np.ndarray], down: np.ndarray, across: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best class, uint8, and its logit, float32, of every pixel of M cells, (Sy, Sx, M) each.

    Cells are the last axis because there are thousands of them, and NumPy is slow for short rows.

    Args:
        planes: logits (C, h * w).
        corners: (4, M) the samples top left, top right, bottom left and bottom right of each cell.
        contenders: as returned by ``_contenders``, for cells in its order.
        down, across: (Sy, M) weight of the bottom samples, (Sx, M) weight of the right ones.
    """
    first, *others = contenders
    best = _enlarged(planes, first, corners, down, across)
    ids = np.broadcast_to(first.astype(np.uint8), best.shape).copy()
    for classes in others:
        cells = slice(len(classes))
        plane = _enlarged(planes, classes, corners[:, cells], down[:, cells], across[:, cells])
        overtake(ids[..., cells], best[..., cells], classes, plane)
    return ids, best


def _enlarged(
    planes: np.ndarray, classes: np.ndarray, corners: np.ndarray, down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """The logits of one class in each cell, (Sy, Sx, M)."""
    top_left, top_right, bottom_left, bottom_right = planes.take(classes * planes.shape[1] + corners)
    left = top_left + (bottom_left - top_left) * down
    right = top_right + (bottom_right - top_right) * down
    right -= left
    plane = right[:, None] * across
    plane += left[:, None]
    return plane
