"""Where a network's milliseconds go: a bar for each part, beside the least time that this machine needs for it."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.lines import Line2D

from .style import COLORS, GREY, add_legend, new_axes, new_figure, put_text, save_figure


def draw_profile(path: str | Path, profiles: Sequence[dict]) -> None:
    """Draw the ``profiles`` of ``profile_inference``, at least one, one below the other.

    Args:
        path: file to write, .png, .pdf or .svg.
        profiles: at least one.
    """
    names = list(dict.fromkeys(row["name"] for profile in profiles for row in profile["groups"]))
    figure = new_figure(8, 0.7 + len(profiles) * (0.9 + 0.26 * len(names)))
    longest = max(row["ms"] for profile in profiles for row in profile["groups"])
    for place, profile in enumerate(profiles, 1):
        axes = new_axes(figure, len(profiles), 1, place)
        axes.grid(axis="y", visible=False)
        rows = profile["groups"]
        places = range(len(rows), 0, -1)
        axes.barh(places, [row["ms"] for row in rows], height=0.62, color=COLORS[0])
        axes.plot(
            [row["bound_ms"] for row in rows], places, color=COLORS[1], marker="|", markersize=11, linestyle="none"
        )
        for y, row in zip(places, rows, strict=True):
            axes.annotate(
                f"{row['ms']:.1f} ({100 * row['share']:.0f} %)",
                (row["ms"], y),
                xytext=(8, 0),
                textcoords="offset points",
                verticalalignment="center",
                fontsize="small",
                color=GREY,
            )
        axes.set(xlim=(0, 1.15 * longest), ylim=(0.3, len(rows) + 0.7))
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(places, [row["name"] for row in rows], parse_math=False)
        height, width = profile["size"]
        title = (
            f"{profile['model']}, {profile['backend']} {profile['precision']}, {height}x{width}: {profile['ms']:.1f} ms"
        )
        put_text(axes.title, title)
        if place == len(profiles):
            axes.set_xlabel("ms")
    marks = [
        Line2D([], [], color=COLORS[0], linewidth=6),
        Line2D([], [], color=COLORS[1], marker="|", markersize=11, linestyle="none"),
    ]
    add_legend(figure, marks, ["measured", "at this machine's memory bandwidth and matrix throughput"])
    save_figure(figure, path)
