"""Style and output of the matplotlib figures, without pyplot and its global state."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsabinet_core.errors import LsabinetError
from lsabinet_core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

FORMATS = (".png", ".pdf", ".svg")
DPI = 150

# Okabe and Ito's colours, which colour-blind readers can distinguish (https://jfly.uni-koeln.de/color/), without the
# yellow, which is hardly visible on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
GREY = "#707070"


def line_style(index: int) -> dict:
    """Style of the ``index``-th line; when the colours are used up, the dashes change as well."""
    return {"color": COLORS[index % len(COLORS)], "linestyle": DASHES[index // len(COLORS) % len(DASHES)]}


def check_figure_path(path: Path) -> None:
    """Raise LsabinetError unless the suffix is one of ``FORMATS`` and matplotlib is installed."""
    new_figure(1, 1)
    if path.suffix.lower() not in FORMATS:
        raise LsabinetError(f"{path}: expected a file name ending in {', '.join(FORMATS)}")


def new_figure(width: float, height: float) -> "Figure":
    """Create an empty figure of ``width`` x ``height`` inches. Raise LsabinetError if matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise LsabinetError("figures need matplotlib, which is not installed: pip install 'matplotlib>=3.8'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: "Figure", *place: Any, **options: Any) -> "Axes":
    """``figure.add_subplot`` with a light grid and no box."""
    axes = figure.add_subplot(*place, **options)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def put_text(text: "Text", content: str) -> None:
    """Set ``text`` to external content (such as a file name) literally: ``$`` does not start a formula."""
    text.set_parse_math(False)
    text.set_text(content)


def add_legend(figure: "Figure", lines: list, labels: list[str]) -> None:
    """A legend below the axes. The labels are literal; matplotlib would hide those that begin with ``_``."""
    columns = max(1, min(len(lines), int(figure.get_figwidth() * 11 / (max(map(len, labels)) + 6))))
    places = [str(index) for index in range(len(lines))]
    legend = figure.legend(lines, places, loc="outside lower center", ncols=columns, frameon=False)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        put_text(text, label)


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write the figure atomically; the suffix, one of ``FORMATS``, determines the format."""
    path = Path(path)
    check_figure_path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, facecolor="white")
