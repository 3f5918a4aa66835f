"""Accuracy against latency: positions of bubbles and labels, read back from matplotlib's objects."""

import itertools
import random

import pytest

from lsabinet_core.plots.label_places import Box, Circle, place_label
from lsabinet_core.plots.tradeoff import Point, draw_tradeoff


@pytest.fixture
def draw(figures, tmp_path):
    """Draw points and return matplotlib's figure."""

    def draw(points):
        draw_tradeoff(tmp_path / "a.png", points, title="title", backend="torch")
        assert (tmp_path / "a.png").stat().st_size > 1000
        return figures[-1]

    return draw


def networks(count: int, trained: float, seed: int = 0) -> list[Point]:
    rng = random.Random(seed)
    points = []
    for index in range(count):
        miou = rng.uniform(50, 70) if rng.random() < trained else None
        parameters = int(10 ** rng.uniform(5.5, 7.5))
        group = rng.choice(["first", "second"])
        points.append(Point(f"Network-{index}", 10 ** rng.uniform(1.5, 2.5), parameters, miou, group, index == 0))
    return points


def labels(figure, points):
    renderer = figure.canvas.get_renderer()
    names = {point.label for point in points}
    return {text.get_text(): text.get_window_extent(renderer) for text in figure.texts if text.get_text() in names}


def panels(figure):
    return [axes for axes in figure.axes if axes.get_xscale() == "log"]


def bubbles(axes):
    return {tuple(found.get_offsets()[0]): found.get_sizes()[0] for found in axes.collections}


def test_positions_and_areas_of_bubbles(draw):
    points = [
        Point("a", 20.0, 1_000_000, 60.0),
        Point("b", 40.0, 4_000_000, 65.0, is_ours=True),
        Point("c", 400.0, 16_000_000, None),
        Point("d", 300.0, 160_000, None),
    ]
    figure = draw(points)
    upper, lower = panels(figure)
    above, below = bubbles(upper), bubbles(lower)
    assert set(above) == {(20.0, 60.0), (40.0, 65.0)}
    assert sorted(x for x, _ in below) == [300.0, 400.0]
    # Areas are proportional to the numbers of parameters.
    sizes = [above[20.0, 60.0], above[40.0, 65.0], *sorted(below.values())]
    assert [size / sizes[0] for size in sizes] == pytest.approx([1, 4, 0.16, 16])
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_title(loc="left") == "title"
    assert "torch" in lower.get_xlabel()
    assert "not trained" in lower.get_ylabel()
    assert "mIoU" in upper.get_ylabel()
    (ours,) = (text for text in figure.texts if text.get_text() == "b")
    (other,) = (text for text in figure.texts if text.get_text() == "a")
    assert ours.get_fontweight() == "bold"
    assert ours.get_color() != other.get_color()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trained", [0.0, 0.5, 1.0])
def test_labels_do_not_overlap(draw, trained, seed):
    points = networks(17, trained, seed)
    figure = draw(points)
    found = labels(figure, points)
    assert set(found) == {point.label for point in points}
    for (_, one), (_, other) in itertools.combinations(found.items(), 2):
        assert not one.overlaps(other)
    areas = [axes.get_window_extent() for axes in panels(figure)]
    for extent in found.values():
        assert any(
            area.x0 - 1 <= extent.x0
            and extent.x1 <= area.x1 + 1
            and area.y0 - 1 <= extent.y0
            and extent.y1 <= area.y1 + 1
            for area in areas
        )


def test_all_trained_or_none(draw):
    (only,) = panels(draw([Point("a", 20.0, 1_000_000, 60.0)]))
    assert "mIoU" in only.get_ylabel()
    assert list(bubbles(only)) == [(20.0, 60.0)]
    (only,) = panels(draw([Point("a", 20.0, 1_000_000, None), Point("b", 20.0, 1_000_000, None)]))
    assert "not trained" in only.get_ylabel()
    heights = [y for _, y in bubbles(only)]
    assert len(set(heights)) == 2
    with pytest.raises(ValueError, match="at least one"):
        draw([])


def test_names_are_not_parsed_as_mathtext(draw):
    points = [Point("$x$_1", 20.0, 1_000_000, 60.0, group="_hidden$")]
    figure = draw(points)
    assert labels(figure, points)
    assert "_hidden$" in [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_position_of_a_label():
    area = Box(0, 0, 100, 100)
    circle = Circle(50, 50, 10)
    free = place_label(circle, (20, 8), area, [], [circle])
    # By default to the right of the circle, three points from its edge and vertically centred.
    assert (free.left, free.bottom, free.top) == pytest.approx((63, 46, 54))
    assert circle.distance(free) == pytest.approx(3)
    # If another label or the border of the area is in the way, another side is used.
    taken = place_label(circle, (20, 8), area, [Box(60, 40, 100, 60)], [circle])
    assert (taken.bottom, (taken.left + taken.right) / 2) == pytest.approx((63, 50))
    edge = Circle(95, 50, 4)
    moved = place_label(edge, (20, 8), area, [], [edge])
    assert moved.right <= 100
    assert edge.distance(moved) >= 2


def test_boxes_and_circles():
    box = Box(0, 0, 4, 2)
    assert (box.area, box.overlap(Box(3, 1, 10, 10)), box.overlap(Box(5, 0, 6, 1))) == (8, 1, 0)
    assert box.nearest(10, 1) == (4, 1)
    assert box.nearest(-3, -4) == (0, 0)
    assert Circle(-3, -4, 2).distance(box) == 3
    assert Circle(1, 1, 2).distance(box) == -2
