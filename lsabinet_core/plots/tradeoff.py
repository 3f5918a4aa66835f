"""Accuracy against latency: a bubble for each network, as large as its parameters."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .label_places import Box, Circle, place_label
from .style import COLORS, GREY, new_axes, new_figure, put_text, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# All lengths are in points, 1/72 inch: it is known where labels go before anything is drawn.
WIDTH, LEFT, RIGHT, TOP, BOTTOM, LEGEND = 720.0, 52.0, 20.0, 30.0, 92.0, 56.0
ACCURACY_HEIGHT, LEAST_ACCURACY_HEIGHT, HEIGHT_PER_NETWORK = 330.0, 110.0, 30.0
LEAST_BAND_HEIGHT = 62.0
"""As much as its name takes along the axis."""
BAND_GAP, ROW_GAP, LABEL_GAP = 10.0, 4.0, 4.0
LARGEST_RADIUS = 26.0
LONGEST_GAP = 12.0
"""Beyond it a line leads from the bubble to its label."""
OURS = COLORS[1]
GROUP_COLORS = (COLORS[0], COLORS[2], COLORS[4], COLORS[3])


@dataclass(frozen=True)
class Point:
    """One network.

    Attributes:
        label: its name.
        latency_ms: above 0.
        parameters: above 0.
        miou: percent; None where it was not trained.
        group: what it belongs to, for its colour.
        is_ours: whether it stands out.
    """

    label: str
    latency_ms: float
    parameters: int
    miou: float | None
    group: str = "networks"
    is_ours: bool = False


def draw_tradeoff(path: str | Path, points: Sequence[Point], *, title: str, backend: str) -> None:
    """Validation mIoU over latency, the area of a bubble being the number of parameters.

    Networks without mIoU lie in a band below, at their latency; how high in it means nothing.

    Args:
        path: .png, .pdf or .svg.
        points: at least one.
        title: above the axes.
        backend: what the latency was measured on, for the axis.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("expected at least one network to draw, got none")
    figure = new_figure(WIDTH / 72, 1)
    # Axes have their places in points, see above.
    figure.set_layout_engine("none")
    scale = _Scale(points)
    sizes = {point: _text_size(figure, point) for point in points}
    trained = [point for point in points if point.miou is not None]
    rows = _rows([point for point in points if point.miou is None], scale, sizes)
    band = max(_height(rows), LEAST_BAND_HEIGHT) if rows else 0.0
    above = min(LEAST_ACCURACY_HEIGHT + HEIGHT_PER_NETWORK * len(trained), ACCURACY_HEIGHT) if trained else 0.0
    gap = BAND_GAP if trained and rows else 0.0
    total = BOTTOM + band + gap + above + TOP
    figure.set_size_inches(WIDTH / 72, total / 72)

    panels = []
    if trained:
        panels.append(_Panel(figure, scale, (BOTTOM + band + gap) / total, above, total))
        _draw_trained(panels[-1], trained, sizes)
    if rows:
        panels.append(_Panel(figure, scale, BOTTOM / total, band, total))
        _draw_band(panels[-1], rows, sizes)
    if len(panels) == 2:
        panels[0].axes.tick_params(labelbottom=False)
    put_text(panels[-1].axes.set_xlabel(""), f"latency of one image (ms), {backend}")
    put_text(panels[0].axes.set_title("", loc="left"), title)
    _add_legend(figure, scale, total)
    save_figure(figure, path)


class _Scale:
    """Where latencies lie, how large bubbles are, in points, and what colours they have."""

    def __init__(self, points: Sequence[Point]):
        latencies = [point.latency_ms for point in points]
        # Room for bubbles and labels at both ends, also where there is one network only.
        self.limits = (min(latencies) / 1.35, max(latencies) * 1.35)
        self.largest = max(point.parameters for point in points)
        self.width = WIDTH - LEFT - RIGHT
        groups = dict.fromkeys(point.group for point in points if not point.is_ours)
        self.colors = dict(zip(groups, itertools.cycle(GROUP_COLORS)))
        self.ours = next((point.label for point in points if point.is_ours), None)

    def x(self, latency_ms: float) -> float:
        """From the left end of the axes."""
        low, high = map(math.log, self.limits)
        return self.width * (math.log(latency_ms) - low) / (high - low)

    def radius(self, parameters: float) -> float:
        return LARGEST_RADIUS * math.sqrt(parameters / self.largest)

    def color(self, point: Point) -> str:
        return OURS if point.is_ours else self.colors[point.group]


class _Panel:
    """Axes of ``height`` points at ``bottom``, a fraction of the figure, which is ``total`` points high."""

    def __init__(self, figure: "Figure", scale: _Scale, bottom: float, height: float, total: float):
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        self.scale, self.height = scale, height
        self.axes = axes = new_axes(figure, 1, 1, 1, label=f"at {bottom}")
        axes.set_position([LEFT / WIDTH, bottom, scale.width / WIDTH, height / total])
        axes.set_xscale("log")
        axes.set_xlim(scale.limits)
        low, high = scale.limits
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))

    def circle(self, point: Point, y: float) -> Circle:
        """Where the point's bubble is, in points from the corner below left; ``y`` is in the axes' own units."""
        low, high = self.axes.get_ylim()
        return Circle(
            self.scale.x(point.latency_ms), self.height * (y - low) / (high - low), self.scale.radius(point.parameters)
        )

    def draw(self, point: Point, y: float, label: Box) -> None:
        """The bubble and its label, with a line to it from afar."""
        circle, color = self.circle(point, y), self.scale.color(point)
        self.axes.scatter(
            point.latency_ms,
            y,
            s=(2 * circle.radius) ** 2,
            color=color,
            alpha=0.85 if point.is_ours else 0.55,
            linewidths=0,
            zorder=3 if point.is_ours else 2,
            clip_on=False,
        )
        x_scale, y_scale = 1 / self.scale.width, 1 / self.height
        if circle.distance(label) > LONGEST_GAP:
            x, above = label.nearest(circle.x, circle.y)
            ends = [circle.x * x_scale, x * x_scale], [circle.y * y_scale, above * y_scale]
            self.axes.plot(*ends, transform=self.axes.transAxes, color=GREY, linewidth=0.6, zorder=1)
        middle = (label.bottom + label.top) / 2
        text = self.axes.text(label.left * x_scale, middle * y_scale, "", transform=self.axes.transAxes, **_font(point))
        put_text(text, point.label)
        text.set_verticalalignment("center_baseline")


def _draw_trained(panel: _Panel, points: Sequence[Point], sizes: dict[Point, tuple[float, float]]) -> None:
    values = [point.miou for point in points]
    margin = max(2.0, 0.18 * (max(values) - min(values)))
    panel.axes.set_ylim(min(values) - margin, max(values) + margin)
    panel.axes.set_ylabel("val mIoU (%)")
    circles = {point: panel.circle(point, point.miou) for point in points}
    area = Box(2, 2, panel.scale.width - 2, panel.height - 2)
    placed: list[Box] = []
    # Ours first: it has the best place.
    for point in sorted(points, key=lambda point: not point.is_ours):
        placed.append(place_label(circles[point], sizes[point], area, placed, list(circles.values())))
        panel.draw(point, point.miou, placed[-1])


def _draw_band(panel: _Panel, rows: list["_Row"], sizes: dict[Point, tuple[float, float]]) -> None:
    axes = panel.axes
    axes.set_ylim(0, panel.height)
    axes.set_facecolor("#F6F6F6")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("not trained here" if panel.height > 90 else "not trained\nhere", color=GREY)
    top = (panel.height + _height(rows)) / 2 - ROW_GAP
    for row_height, row in rows:
        middle = top - row_height / 2
        for point, left in row:
            width, height = sizes[point]
            panel.draw(point, middle, Box(left, middle - height / 2, left + width, middle + height / 2))
        top -= row_height + ROW_GAP


def _height(rows: list["_Row"]) -> float:
    return sum(height + ROW_GAP for height, _ in rows) + ROW_GAP


_Row = tuple[float, list[tuple[Point, float]]]
"""Height; points with the left ends of their labels."""


def _rows(points: Sequence[Point], scale: _Scale, sizes: dict[Point, tuple[float, float]]) -> list[_Row]:
    """Bubbles with their labels beside them, in as few rows as they fit into."""
    rows: list[dict] = []
    for point in sorted(points, key=lambda point: point.latency_ms):
        x, radius, (width, height) = scale.x(point.latency_ms), scale.radius(point.parameters), sizes[point]
        left = x + radius + LABEL_GAP
        if left + width > scale.width:
            left = x - radius - LABEL_GAP - width
        start, end = min(left, x - radius), max(left + width, x + radius)
        row = next((row for row in rows if row["end"] + 2 * LABEL_GAP <= start), None)
        if row is None:
            row = {"end": 0.0, "height": 0.0, "points": []}
            rows.append(row)
        row["end"] = end
        row["height"] = max(row["height"], height, 2 * radius)
        row["points"].append((point, left))
    return [(row["height"], row["points"]) for row in rows]


def _font(point: Point) -> dict:
    weight, color = ("bold", OURS) if point.is_ours else ("normal", "#303030")
    return {"fontsize": 10 if point.is_ours else 9, "fontweight": weight, "color": color, "zorder": 4}


def _text_size(figure: "Figure", point: Point) -> tuple[float, float]:
    """Width and height of a point's label in points."""
    text = figure.text(0, 0, "", **_font(point))
    put_text(text, point.label)
    extent = text.get_window_extent(figure.canvas.get_renderer())
    text.remove()
    return 72 * extent.width / figure.dpi, 72 * extent.height / figure.dpi


def _add_legend(figure: "Figure", scale: _Scale, total: float) -> None:
    """What the colours are, and how large some numbers of parameters: one line at the bottom, centred."""
    entries = [(4.0, color, group) for group, color in scale.colors.items()]
    if scale.ours is not None:
        entries.insert(0, (4.0, OURS, scale.ours))
    entries += [(scale.radius(1e6 * millions), GREY, f"{millions:g} M") for millions in _round_steps(scale.largest)]
    entries[-1] = (*entries[-1][:2], f"{entries[-1][2]} parameters")
    axes = figure.add_axes([0, 0, 1, LEGEND / total])
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(0, LEGEND)
    texts = [axes.text(0, LEGEND / 2, "", fontsize=9, verticalalignment="center_baseline") for _ in entries]
    for text, (_, _, label) in zip(texts, entries, strict=True):
        put_text(text, label)
    widths = [72 * text.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi for text in texts]
    spacing = 18.0
    taken = sum(2 * radius + LABEL_GAP + width for (radius, *_), width in zip(entries, widths, strict=True))
    x = (WIDTH - taken - spacing * (len(entries) - 1)) / 2
    for text, (radius, color, _), width in zip(texts, entries, widths, strict=True):
        axes.scatter(x + radius, LEGEND / 2, s=(2 * radius) ** 2, color=color, alpha=0.6, linewidths=0)
        text.set_x(x + 2 * radius + LABEL_GAP)
        x += 2 * radius + LABEL_GAP + width + spacing


def _round_steps(parameters: float) -> list[float]:
    """Three round numbers of millions below so many parameters, each four or five times the one before."""
    largest = parameters / 1e6
    power = 10.0 ** math.floor(math.log10(largest))
    top = max(step * power for step in (1, 2, 5) if step * power <= largest * (1 + 1e-9))
    return [top / 20, top / 4 if top / power != 5 else top / 5, top]
