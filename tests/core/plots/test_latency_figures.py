"""Latency figures: positions and texts, read back from matplotlib's objects."""

import numpy as np
import pytest

from lsabinet_core.errors import LsabinetError
from lsabinet_core.plots.curves import Curve, draw_curves
from lsabinet_core.plots.latency import draw_latency


@pytest.fixture
def figure(figures, tmp_path):
    """Call a drawing function and return matplotlib's figure: (function, *arguments, **options)."""

    def draw(function, *arguments, **options):
        function(tmp_path / "figure.png", *arguments, **options)
        return figures[-1]

    return draw


def row(model, backend, size, median, p95, miou=None):
    figures = {"model": model, "backend": backend, "precision": "fp32", "size": list(size), "batch": 1}
    return {**figures, "median_ms": median, "p95_ms": p95, "val_miou": miou, "trained_on": "some data"}


def test_one_panel_per_size(figure):
    rows = [
        row("$a", "torch", (64, 96), 20.0, 30.0),
        row("$a", "openvino", (64, 96), 10.0, 11.0),
        row("$a", "torch", (96, 128), 40.0, 45.0, miou=0.6),
    ]
    small, large = figure(draw_latency, rows).axes
    assert (small.get_title(), large.get_title()) == ("64x96", "96x128")
    assert [text.get_text() for text in small.get_yticklabels()] == ["$a  torch fp32", "$a  openvino fp32"]
    assert [text.get_text() for text in large.get_yticklabels()] == ["", ""]
    # Each row has a line from the median to the 95th percentile and a point at the median; the first row is on top.
    places = [(list(line.get_xdata()), list(line.get_ydata())) for line in small.lines]
    assert places == [([20, 30], [2, 2]), ([20], [2]), ([10, 11], [1, 1]), ([10], [1])]
    assert small.lines[0].get_color() != small.lines[2].get_color() == small.lines[3].get_color()
    places = [(list(line.get_xdata()), list(line.get_ydata())) for line in large.lines]
    assert places == [([40, 45], [2, 2]), ([40], [2])]
    assert [text.get_text() for text in small.texts] == ["20", "10"]


def test_miou_against_latency(figure):
    rows = [
        row("a", "torch", (64, 96), 20.0, 30.0, miou=0.6),
        row("a", "openvino", (64, 96), 10.0, 11.0, miou=0.6),
        row("b", "torch", (64, 96), 40.0, 45.0),
    ]
    drawn = figure(draw_latency, rows)
    [axes] = drawn.axes
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[:3]]
    assert points[:2] == [(20, 60), (10, 60)]
    assert points[2][0] == 40
    # A point without mIoU lies below all ticks of the mIoU axis, at a tick of its own.
    named = {text.get_text(): tick for text, tick in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert named.pop("not\nknown") == points[2][1] < min(named.values()) < 60
    assert all(float(name) == pytest.approx(tick) for name, tick in named.items())
    assert axes.get_ylim()[0] < points[2][1]
    assert axes.get_xlim()[0] == 0
    legend = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert legend == ["torch fp32", "openvino fp32", "a 64x96 (some data)", "b 64x96"]


def test_axes_of_curves_may_start_at_zero(figure):
    curve = Curve("cost", np.array([4.0, 8.0]), np.array([10.0, 21.0]))
    labels = {"title": "t", "x_label": "x", "y_label": "y"}
    [axes] = figure(draw_curves, [curve], **labels, from_zero=True).axes
    assert axes.get_xlim()[0] == axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= 21
    [axes] = figure(draw_curves, [curve], **labels).axes
    assert axes.get_ylim()[0] > 5


def test_other_formats_are_rejected(tmp_path):
    with pytest.raises(LsabinetError, match=r"ending in .png"):
        draw_latency(tmp_path / "figure.bmp", [row("a", "torch", (64, 96), 1.0, 1.0)])
