"""Training curves: loss and mIoU of one run, or the curves of several runs in one figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLORS, GREY, add_legend, line_style, new_axes, new_figure, put_text, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a plot.

    Attributes:
        label: name in the legend.
        x: float (N,), increasing.
        y: float (N,); non-finite values leave gaps.
    """

    label: str
    x: np.ndarray
    y: np.ndarray


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the moving average over ``window`` values, fewer at the ends; float64 (N,).

    Non-finite values are ignored; a window without finite values gives NaN.
    """
    values = np.asarray(values, np.float64)
    if window < 1:
        raise ValueError(f"expected a window of at least 1, got {window}")
    if not len(values):
        return values
    finite = np.isfinite(values)
    # A window of twice the length covers all values wherever it is.
    window = min(window, 2 * len(values))
    around = np.ones(window)
    centred = slice(window // 2, window // 2 + len(values))
    sums = np.convolve(np.where(finite, values, 0.0), around)[centred]
    counts = np.convolve(finite.astype(np.float64), around)[centred]
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def draw_curves(
    path: str | Path,
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
    smooth: int = 1,
    marker: str | None = None,
    from_zero: bool = False,
) -> None:
    """Draw several curves in one figure.

    Args:
        path: .png, .pdf or .svg.
        curves: at least one.
        title: above the axes.
        x_label: with its unit.
        y_label: with its unit.
        smooth: draw the ``moving_mean`` of this number of points, and the points themselves faintly behind it.
        marker: matplotlib's marker of single points; a curve of one point always has one.
        from_zero: both axes begin at 0, for proportional quantities.
    """
    figure = new_figure(8, 5)
    axes = new_axes(figure)
    lines = [
        _draw(axes, curve, smooth, marker=marker, markersize=4, **line_style(index))
        for index, curve in enumerate(curves)
    ]
    put_text(axes.set_title(""), title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label if smooth == 1 else f"{y_label}, mean of {smooth} records")
    axes.margins(x=0.01)
    if from_zero:
        axes.set(xlim=(0, None), ylim=(0, None))
    axes.locator_params(axis="x", integer=True)
    add_legend(figure, lines, [curve.label for curve in curves])
    save_figure(figure, path)


def draw_run(
    path: str | Path, loss: Curve, learning_rate: Curve, miou: Curve, *, title: str, x_label: str, smooth: int = 1
) -> None:
    """One run: loss and learning rate above, validation mIoU in percent below.

    Args:
        path: file to write, .png, .pdf or .svg.
        loss: loss of the training batches.
        learning_rate: learning rate at the same steps.
        miou: mIoU of each validation, 0..100; may be empty.
        title: title above the axes.
        x_label: label of the common x axis.
        smooth: window of the moving average of the loss, as in ``draw_curves``.
    """
    figure = new_figure(8, 7)
    above = new_axes(figure, 2, 1, 1)
    below = new_axes(figure, 2, 1, 2, sharex=above)
    put_text(above.set_title(""), title)

    _draw(above, loss, smooth, color=COLORS[0])
    above.set_ylabel("training loss", color=COLORS[0])
    above.margins(x=0.01)
    above.locator_params(axis="x", integer=True)
    rate = above.twinx()
    rate.plot(learning_rate.x, learning_rate.y, color=GREY, linewidth=1, linestyle="--")
    rate.set_ylabel("learning rate (dashed)", color=GREY)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    rate.set_ylim(bottom=0)
    rate.spines["top"].set_visible(False)

    below.plot(miou.x, miou.y, color=COLORS[1], marker="o", markersize=4)
    below.set_ylabel("validation mIoU (%)")
    below.set_xlabel(x_label)
    known = np.flatnonzero(np.isfinite(miou.y))
    if known.size:
        best = known[np.argmax(np.asarray(miou.y)[known])]
        below.axhline(float(miou.y[best]), color=GREY, linewidth=1, linestyle=":")
        below.annotate(
            f"best {miou.y[best]:.2f} %",
            (miou.x[best], miou.y[best]),
            xytext=(0, 4),
            textcoords="offset points",
            horizontalalignment="right",
        )
        below.margins(y=0.12)
    else:
        below.text(0.5, 0.5, "no validation yet", transform=below.transAxes, color=GREY, horizontalalignment="center")
    save_figure(figure, path)


def _draw(axes: "Axes", curve: Curve, smooth: int, **style: Any) -> "Line2D":
    """Draw a curve, smoothed over the faint raw line if ``smooth`` is above 1, and return the line for the legend."""
    values = moving_mean(curve.y, smooth)
    if style.get("marker") is None and np.isfinite(values).sum() == 1:
        # A line through a single point is invisible.
        style.update(marker="o", markersize=4)
    if smooth > 1:
        axes.plot(curve.x, curve.y, color=style["color"], linewidth=0.7, alpha=0.25)
    [line] = axes.plot(curve.x, values, linewidth=1.6, **style)
    return line
