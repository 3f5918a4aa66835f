"""Curves, confusion matrices and reliability diagrams, read back from matplotlib's objects or from pixels."""

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from lsabinet_core.errors import LsabinetError
from lsabinet_core.plots.confusion import draw_confusion
from lsabinet_core.plots.curves import Curve, draw_curves, draw_run, moving_mean
from lsabinet_core.plots.reliability import draw_reliability


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_moving_mean_is_centred():
    values = np.array([1.0, 2.0, 6.0, np.nan, 3.0])
    np.testing.assert_allclose(moving_mean(values, 3), [1.5, 3.0, 4.0, 4.5, 3.0])
    np.testing.assert_array_equal(moving_mean(values, 1), values)
    rng = np.random.default_rng(0)
    many = rng.normal(size=40)
    for window in (2, 5, 8, 100):
        first = window - 1 - window // 2
        slow = [many[max(0, i - first) : i + window // 2 + 1].mean() for i in range(40)]
        np.testing.assert_allclose(moving_mean(many, window), slow)
    # Memory for such a window does not exist.
    np.testing.assert_allclose(moving_mean(many, 10**12), np.full(40, many.mean()))
    assert len(moving_mean(np.array([]), 5)) == 0
    with pytest.raises(ValueError, match="at least 1"):
        moving_mean(values, 0)


def test_curves_of_several_runs(tmp_path, figures):
    x = np.arange(10.0, 110, 10)
    names = ["_first$1$", "second", *(f"run {index}" for index in range(8))]
    curves = [Curve(name, x, 1 / (index + 1) + 1 / x) for index, name in enumerate(names)]
    draw_curves(tmp_path / "a.png", curves, title="Training loss", x_label="iteration", y_label="training loss")
    [figure] = figures
    [axes] = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("iteration", "training loss", "Training loss")
    for line, curve in zip(axes.lines, curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_allclose(line.get_ydata(), curve.y)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == len(names)
    assert cv2.imread(str(tmp_path / "a.png")).shape == (750, 1200, 3)


def test_raw_curves_are_drawn_behind_smoothed_ones(tmp_path, figures):
    y = np.array([3.0, 1.0, 2.0, 0.0])
    curve = Curve("run", np.arange(4.0), y)
    draw_curves(tmp_path / "a.svg", [curve], title="t", x_label="epoch", y_label="loss", smooth=3)
    [axes] = figures[0].axes
    raw, smooth = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), y)
    np.testing.assert_allclose(smooth.get_ydata(), moving_mean(y, 3))
    assert "3" in axes.get_ylabel()
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_single_record_is_visible(tmp_path, figures):
    one, two = Curve("one", np.array([10.0]), np.array([0.5])), Curve("two", np.array([10.0, 20]), np.array([1.0, 0.5]))
    for smooth in (1, 3):
        draw_curves(tmp_path / "a.png", [one, two], title="t", x_label="iteration", y_label="loss", smooth=smooth)
        # With smoothing, the raw line of each curve precedes its smoothed line.
        lines = figures[-1].axes[0].lines if smooth == 1 else figures[-1].axes[0].lines[1::2]
        assert [line.get_marker() for line in lines] == ["o", "None"]
    draw_run(tmp_path / "b.png", one, one, Curve("mIoU", np.array([]), np.array([])), title="t", x_label="iteration")
    assert figures[-1].axes[0].lines[0].get_marker() == "o"


def test_loss_learning_rate_and_miou_of_a_run(tmp_path, figures):
    x = np.arange(10.0, 60, 10)
    loss, rate = Curve("loss", x, 1 / x), Curve("lr", x, 1e-3 * x)
    miou = Curve("mIoU", np.array([20.0, 40.0, 50.0]), np.array([30.0, 61.234, np.nan]))
    draw_run(tmp_path / "a.png", loss, rate, miou, title="CamVid, ours", x_label="iteration")
    above, below, right = figures[0].axes
    assert above.get_title() == "CamVid, ours"
    assert below.get_xlabel() == "iteration"
    assert "loss" in above.get_ylabel()
    assert "learning rate" in right.get_ylabel()
    assert "(%)" in below.get_ylabel()
    assert texts(below) == ["best 61.23 %"]
    assert below.texts[0].xy == (40.0, 61.234)

    nothing = Curve("mIoU", np.array([]), np.array([]))
    draw_run(tmp_path / "b.png", loss, rate, nothing, title="t", x_label="iteration")
    assert texts(figures[1].axes[1]) == ["no validation yet"]


def test_confusion_is_normalised_by_row(tmp_path, figures):
    matrix = np.array([[30, 10, 0], [0, 0, 0], [1, 0, 999]])
    draw_confusion(tmp_path / "a.png", matrix, ["Sky", "Car$x$", "Road"], title="last")
    axes, bar = figures[0].axes
    numbers = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "75", (1, 0): "25", (2, 2): "100"}, "(column, row) -> percentage of the row"
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[0], [75, 25, 0])
    assert np.ma.getmaskarray(shown)[1].all() or np.isnan(shown[1]).all()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Sky", "Car$x$", "Road"]
    assert next(text.get_text() for text in axes.get_yticklabels()).startswith("Sky  (3.8 %)")
    assert "%" in bar.get_ylabel()
    with pytest.raises(ValueError, match="expected a matrix of shape"):
        draw_confusion(tmp_path / "b.png", matrix, ["Sky", "Car"])


def test_reliability(tmp_path, figures):
    confidence, accuracy, counts = [None, 0.3, 0.9], [None, 0.5, 0.8], [0, 100, 300]
    draw_reliability(tmp_path / "a.png", confidence, accuracy, counts, 0.125)
    above, below = figures[0].axes
    bars = [(round(bar.get_x() + bar.get_width() / 2, 6), bar.get_height()) for bar in above.patches]
    assert bars == [(0.5, 0.5), (round(5 / 6, 6), 0.8)], "only bins with pixels have a bar"
    assert [bar.get_height() for bar in below.patches] == [0, 25, 75]
    np.testing.assert_array_equal(above.lines[1].get_xydata(), [[0.3, 0.5], [0.9, 0.8]])
    assert "ECE 12.50 %" in above.get_title()
    with pytest.raises(ValueError, match="as many of each"):
        draw_reliability(tmp_path / "b.png", [0.5], [0.5, 0.5], [1, 1], 0.1)


def test_a_failed_write_keeps_the_existing_figure(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space"):
        draw_reliability(path, [0.5], [0.5], [1], 0.0)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_formats_are_rejected(tmp_path):
    with pytest.raises(LsabinetError, match=r"a\.jpg: expected a file name ending in \.png, \.pdf, \.svg"):
        draw_reliability(tmp_path / "a.jpg", [0.5], [0.5], [1], 0.0)
