"""Calibration as a figure: how often the network is right, by its confidence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .style import COLORS, GREY, add_legend, new_axes, new_figure, put_text, save_figure


def draw_reliability(
    path: str | Path,
    confidence: Sequence[float | None] | np.ndarray,
    accuracy: Sequence[float | None] | np.ndarray,
    counts: Sequence[int] | np.ndarray,
    ece: float,
    *,
    title: str = "Reliability",
) -> None:
    """Draw a reliability diagram (Guo et al., 2017) over B bins of equal width, with the pixel share of each bin below.

    Args:
        path: file to write, .png, .pdf or .svg.
        confidence: (B,), mean confidence in each bin, 0..1; ignored for an empty bin.
        accuracy: (B,), fraction of correct pixels in each bin, 0..1; ignored for an empty bin.
        counts: (B,), pixels in each bin.
        ece: expected calibration error, 0..1.
        title: title above the axes.

    Raises:
        ValueError: the three arrays differ in length or are empty.
    """
    # None stands for "undefined" in reports; it becomes NaN here.
    means, hits, pixels = (np.asarray(values, np.float64) for values in (confidence, accuracy, counts))
    bins = len(pixels)
    if not bins or not len(means) == len(hits) == bins:
        raise ValueError(f"expected as many of each, got {len(means)}, {len(hits)} and {bins}")
    filled = pixels > 0
    width = 1 / bins
    centres = (np.arange(bins) + 0.5) * width

    figure = new_figure(5.5, 6.5)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1))
    axes = new_axes(figure, grid[0])
    [diagonal] = axes.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1)
    bars = axes.bar(centres[filled], hits[filled], width * 0.92, color=COLORS[5], alpha=0.6)
    [points] = axes.plot(means[filled], hits[filled], color=COLORS[1], marker="o", linestyle="none")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy (share of pixels that are right)")
    put_text(axes.set_title(""), f"{title}: ECE {100 * ece:.2f} %")

    below = new_axes(figure, grid[1], sharex=axes)
    below.bar(centres, 100 * pixels / max(pixels.sum(), 1), width * 0.92, color=GREY)
    below.set(xlabel="confidence (softmax probability of the predicted class)", ylabel="pixels (%)")
    add_legend(figure, [bars, points, diagonal], ["accuracy of the bin", "at its mean confidence", "calibrated"])
    save_figure(figure, path)
