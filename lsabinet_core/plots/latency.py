"""Latency of networks and engines: side by side, or against mIoU."""

from collections.abc import Sequence
from pathlib import Path

from .style import COLORS, GREY, add_legend, new_axes, new_figure, save_figure

MARKERS = "osD^vP*X<>"


def draw_latency(path: str | Path, rows: Sequence[dict]) -> None:
    """Draw the results of ``benchmark_inference``.

    Where the mIoU of at least two rows is known: latency against mIoU, with the other rows in a band below. Otherwise a
    line for each network and engine and a column for each size: the median as a point, a bar up to the 95th percentile.

    Args:
        path: file to write, .png, .pdf or .svg.
        rows: at least one row of the result.
    """
    if sum(row["val_miou"] is not None for row in rows) >= 2:
        _draw_against_miou(path, rows)
    else:
        _draw_side_by_side(path, rows)


def _draw_side_by_side(path: str | Path, rows: Sequence[dict]) -> None:
    sizes = list(dict.fromkeys(tuple(row["size"]) for row in rows))
    lines = list(dict.fromkeys(_line(row) for row in rows))
    colors = _colors(rows)
    figure = new_figure(2.6 + 3.4 * len(sizes), 1.4 + 0.34 * len(lines))
    for column, size in enumerate(sizes, 1):
        axes = new_axes(figure, 1, len(sizes), column)
        axes.grid(axis="y", visible=False)
        shown = [row for row in rows if tuple(row["size"]) == size]
        for row in shown:
            place, color = len(lines) - lines.index(_line(row)), colors[_engine(row)]
            axes.plot((row["median_ms"], row["p95_ms"]), (place, place), color=color, linewidth=2, alpha=0.5)
            axes.plot(row["median_ms"], place, color=color, marker="o", markersize=6)
            axes.annotate(
                f"{row['median_ms']:.0f}" if row["median_ms"] >= 100 else f"{row['median_ms']:.3g}",
                (max(row["median_ms"], row["p95_ms"]), place),
                xytext=(6, 0),
                textcoords="offset points",
                verticalalignment="center",
                fontsize="small",
                color=GREY,
            )
        axes.set(xlim=(0, 1.2 * max(row["p95_ms"] for row in shown)), ylim=(0.4, len(lines) + 0.6))
        axes.set_title(f"{size[0]}x{size[1]}", fontsize="medium")
        axes.set_xlabel("ms: median, and up to p95")
        axes.tick_params(axis="y", length=0)
        # Literal: a "$" in the name of a weights file does not start a formula.
        labels = lines if column == 1 else [""] * len(lines)
        axes.set_yticks(range(len(lines), 0, -1), labels, parse_math=False)
    save_figure(figure, path)


def _draw_against_miou(path: str | Path, rows: Sequence[dict]) -> None:
    known = [100 * row["val_miou"] for row in rows if row["val_miou"] is not None]
    low, high = min(known), max(known)
    margin = max(1.0, 0.15 * (high - low))
    # The band of the others is below the axis of mIoU.
    band = low - 1.4 * margin
    colors, marks = _colors(rows), {}
    figure = new_figure(8, 5.5)
    axes = new_axes(figure)
    for row in rows:
        miou = row["val_miou"]
        mark = marks.setdefault(_network(row), MARKERS[len(marks) % len(MARKERS)])
        axes.plot(
            row["median_ms"],
            band if miou is None else 100 * miou,
            color=colors[_engine(row)],
            marker=mark,
            markerfacecolor="white" if miou is None else None,
            markersize=8,
            linestyle="none",
        )
    if len(known) < len(rows):
        axes.axhspan(band - 0.4 * margin, band + 0.4 * margin, color=GREY, alpha=0.1, linewidth=0)
    axes.set(
        xlim=(0, 1.08 * max(row["median_ms"] for row in rows)),
        ylim=(band - 0.4 * margin if len(known) < len(rows) else low - margin, high + margin),
    )
    ticks = [tick for tick in axes.get_yticks() if low - margin < tick <= high + margin]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    if len(known) < len(rows):
        axes.set_yticks([*ticks, band], [*(f"{tick:g}" for tick in ticks), "not\nknown"])
    axes.set_xlabel("ms, median")
    axes.set_ylabel("mIoU (%) on the weights' own validation set")
    handles = [axes.plot([], [], color=color, linewidth=5)[0] for color in colors.values()]
    handles += [axes.plot([], [], color=GREY, marker=mark, linestyle="none")[0] for mark in marks.values()]
    add_legend(figure, handles, [*colors, *marks])
    save_figure(figure, path)


def _network(row: dict) -> str:
    """The network with its data set: figures of different data sets do not compare."""
    trained = "" if row["val_miou"] is None else f" ({row['trained_on']})"
    return f"{row['model']} {row['size'][0]}x{row['size'][1]}{trained}"


def _line(row: dict) -> str:
    batch = f", batch {row['batch']}" if row["batch"] > 1 else ""
    return f"{row['model']}  {_engine(row)}{batch}"


def _engine(row: dict) -> str:
    return f"{row['backend']} {row['precision']}"


def _colors(rows: Sequence[dict]) -> dict[str, str]:
    engines = dict.fromkeys(map(_engine, rows))
    return {engine: COLORS[index % len(COLORS)] for index, engine in enumerate(engines)}
