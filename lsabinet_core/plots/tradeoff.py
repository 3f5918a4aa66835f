"""Accuracy against latency: a bubble for each network, whose area is its number of parameters."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .label_places import Box, Circle, place_label
from .style import COLORS, GREY, new_axes, new_figure, put_text, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST_RADIUS = 24.0
"""Points, 1/72 inch."""
LINE_FROM = 12.0
"""From this distance in points on, a line connects a bubble and its label."""
OURS = COLORS[1]
GROUP_COLORS = (COLORS[0], COLORS[2], COLORS[4], COLORS[3])
ROWS = 5
"""Of the band of untrained networks."""


@dataclass(frozen=True)
class Point:
    """One network in the plot.

    Attributes:
        label: name of the network.
        latency_ms: latency in milliseconds, above 0.
        parameters: number of parameters, above 0.
        miou: mIoU in percent; None if the network was not trained.
        group: name of the colour group.
        is_ours: whether to highlight the network.
    """

    label: str
    latency_ms: float
    parameters: int
    miou: float | None
    group: str = "networks"
    is_ours: bool = False


def draw_tradeoff(path: str | Path, points: Sequence[Point], *, title: str, backend: str) -> None:
    """Validation mIoU over latency.

    Networks without mIoU are in a band below, at their latency; their height in it has no meaning.

    Args:
        path: file to write, .png, .pdf or .svg.
        points: at least one network.
        title: title above the axes.
        backend: backend used for the latency, named in the axis label.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("expected at least one network to draw, got none")
    largest = max(point.parameters for point in points)
    groups = dict.fromkeys(point.group for point in points if not point.is_ours)
    colors = dict(zip(groups, itertools.cycle(GROUP_COLORS), strict=False))
    trained = {point: point.miou for point in points if point.miou is not None}
    others = sorted((point for point in points if point.miou is None), key=lambda point: point.latency_ms)
    # Neighbours are in different rows.
    band = {point: -float(index % ROWS) for index, point in enumerate(others)}
    heights = [min(1.6 + 0.4 * len(trained), 4.6)] * bool(trained) + [0.6 + 0.45 * min(len(band), ROWS)] * bool(band)
    figure = new_figure(10, 1.6 + sum(heights))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    panels = []
    for places in filter(None, (trained, band)):
        axes = new_axes(figure, grid[len(panels)], sharex=panels[0][0] if panels else None)
        panels.append((axes, places))
        for point, y in places.items():
            axes.scatter(
                point.latency_ms,
                y,
                s=(2 * _radius(point.parameters, largest)) ** 2,
                color=OURS if point.is_ours else colors[point.group],
                alpha=0.85 if point.is_ours else 0.55,
                linewidths=0,
                zorder=3 if point.is_ours else 2,
            )
        if places is trained:
            axes.set_ylabel("val mIoU (%)")
            axes.margins(y=0.18)
        else:
            axes.set_facecolor("#F6F6F6")
            axes.set(yticks=[], ylim=(min(places.values()) - 0.9, 0.9))
            axes.spines["left"].set_visible(False)
            axes.set_ylabel("not trained here", color=GREY)
    _set_latency_axis(panels[-1][0], [point.latency_ms for point in points])
    if len(panels) == 2:
        panels[0][0].tick_params(labelbottom=False)
    put_text(panels[-1][0].set_xlabel(""), f"latency of one image (ms), {backend}")
    put_text(panels[0][0].set_title("", loc="left"), title)
    _add_legend(figure, points, colors, largest)
    # The layout is fixed before the labels, which avoid the bubbles where these really are.
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for axes, places in panels:
        _place_labels(figure, axes, places, largest)
    save_figure(figure, path)


def _radius(parameters: float, largest: int) -> float:
    return LARGEST_RADIUS * math.sqrt(parameters / largest)


def _set_latency_axis(axes: "Axes", latencies: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    # Room for bubbles and labels at both ends.
    low, high = min(latencies) / 1.35, max(latencies) * 1.35
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _place_labels(figure: "Figure", axes: "Axes", places: dict[Point, float], largest: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    assert isinstance(figure.canvas, FigureCanvasAgg), "new_figure makes this canvas"
    renderer, points_per_pixel = figure.canvas.get_renderer(), 72 / figure.dpi

    def circle_of(point: Point, miou: float) -> Circle:
        x, y = points_per_pixel * axes.transData.transform((point.latency_ms, miou))
        return Circle(x, y, _radius(point.parameters, largest))

    circles = {point: circle_of(point, miou) for point, miou in places.items()}
    extent = axes.get_window_extent(renderer)
    area = Box(*(points_per_pixel * value for value in extent.extents))
    placed: list[Box] = []
    # Ours first: it gets the best place.
    for point in sorted(places, key=lambda point: not point.is_ours):
        weight, color = ("bold", OURS) if point.is_ours else ("normal", "#303030")
        text = figure.text(0, 0, "", fontsize=10 if point.is_ours else 9, fontweight=weight, color=color, zorder=4)
        put_text(text, point.label)
        size = text.get_window_extent(renderer)
        width, height = points_per_pixel * size.width, points_per_pixel * size.height
        label = place_label(circles[point], (width, height), area, placed, list(circles.values()))
        placed.append(label)
        text.set_transform(figure.dpi_scale_trans)
        text.set_verticalalignment("center_baseline")
        text.set_position((label.left / 72, (label.bottom + label.top) / 144))
        circle = circles[point]
        if circle.distance(label) > LINE_FROM:
            x, y = label.nearest(circle.x, circle.y)
            axes.annotate(
                "",
                (x / 72, y / 72),
                (circle.x / 72, circle.y / 72),
                xycoords=figure.dpi_scale_trans,
                textcoords=figure.dpi_scale_trans,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
            )


def _add_legend(figure: "Figure", points: Sequence[Point], colors: dict[str, str], largest: int) -> None:
    """What the colours mean, and how large some numbers of parameters are."""
    from matplotlib.lines import Line2D

    entries = [(4.0, OURS, point.label) for point in points if point.is_ours][:1]
    entries += [(4.0, color, group) for group, color in colors.items()]
    entries += [(_radius(1e6 * millions, largest), GREY, f"{millions:g} M") for millions in _round_steps(largest)]
    entries[-1] = (*entries[-1][:2], f"{entries[-1][2]} parameters")
    handles = [
        Line2D([], [], linestyle="none", marker="o", markersize=2 * radius, color=color, alpha=0.6, markeredgewidth=0)
        for radius, color, _ in entries
    ]
    legend = figure.legend(
        handles,
        [""] * len(entries),
        loc="outside lower center",
        ncols=len(entries),
        frameon=False,
        fontsize=9,
        handlelength=3.2,
        handletextpad=1.2,
        borderpad=2.0,
    )
    for text, (_, _, label) in zip(legend.get_texts(), entries, strict=True):
        put_text(text, label)


def _round_steps(parameters: float) -> list[float]:
    """Three round numbers of millions up to ``parameters``, each about four or five times the one before."""
    power = 10.0 ** math.floor(math.log10(parameters / 1e6))
    top = max(step * power for step in (1, 2, 5) if step * power <= parameters / 1e6 * (1 + 1e-9))
    return [top / 20, top / 4 if top / power != 5 else top / 5, top]
