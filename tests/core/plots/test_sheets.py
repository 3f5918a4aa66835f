"""Sample grids and comparison sheets, checked by their pixels."""

import cv2
import numpy as np
import pytest

from lsabinet_core.data import Sample
from lsabinet_core.errors import LsabinetError
from lsabinet_core.labels import CAMVID, VOID
from lsabinet_core.plots.comparison import draw_comparison
from lsabinet_core.plots.panels import BLACK, NOT_COUNTED, WHITE, WRONG, Panel, error_map, fit, outline, sheet
from lsabinet_core.plots.samples import draw_samples, spread

SKY, ROAD, CAR = 0, 3, 8
SIZE = (240, 320)


def bgr(label: int) -> tuple[int, ...]:
    return CAMVID.colors[label][::-1]


def count(picture: np.ndarray, color) -> int:
    """The number of pixels of exactly this colour."""
    return int((picture == np.array(color, np.uint8)).all(axis=2).sum())


@pytest.fixture
def street():
    """A white image with its label (sky above, road below, void on the left), and a prediction with an extra car."""
    label = np.full(SIZE, ROAD, np.uint8)
    label[:120] = SKY
    label[:, :20] = VOID
    mask = np.full(SIZE, ROAD, np.uint8)
    mask[:120] = SKY
    mask[150:190, 100:160] = CAR
    return Sample(np.full((*SIZE, 3), 255, np.uint8), label, "street"), mask


def test_error_map(street):
    sample, mask = street
    errors = error_map(sample.image, sample.label, mask)
    assert count(errors, WRONG) == 40 * 60
    assert count(errors, NOT_COUNTED) == 240 * 20
    assert (errors[10, 200] == 127).all(), "correct pixels show the darkened image"


def test_outline_surrounds_regions_and_omits_slivers():
    picture = np.full((100, 100, 3), 77, np.uint8)
    marked = np.zeros((100, 100), bool)
    marked[20:40, 30:60] = True
    marked[70:72, 10:90] = True
    outlined = outline(picture, marked)
    assert (outlined[20, 30:60] == WHITE).all()
    assert (outlined[20:40, 59] == WHITE).all()
    assert (outlined[28:32, 40:50] == 77).all(), "the interior is unchanged"
    assert (outlined[60:] == 77).all(), "a region only two pixels thick has no outline"
    assert count(outlined, BLACK) > 0
    assert (picture == 77).all()


def test_fit_keeps_the_aspect_ratio_and_the_class_ids():
    ids = np.array([[0, 8], [3, 255]], np.uint8)
    assert set(np.unique(fit(ids, (41, 57)))) == {0, 3, 8, 255}
    assert fit(ids, (41, 57)).shape == (41, 41)
    assert fit(np.zeros((100, 400, 3), np.uint8), (240, 320)).shape == (80, 320, 3)


def test_sheet_has_every_panel_in_its_cell():
    colors = [[(10, 20, 30), (40, 50, 60)], [(70, 80, 90), (100, 110, 120)], [(1, 2, 3), (4, 5, 6)]]
    rows = [[Panel(np.full((30, 40, 3), color, np.uint8), "caption") for color in row] for row in colors]
    long = "a_title_without_any_space_that_is_wider_than_the_margin_beside_the_rows"
    picture = sheet(
        rows,
        size=(30, 50),
        row_titles=["a", long, "ü"],
        column_titles=[long, "d"],
        keys=[("Road", (9, 8, 7))],
        note=long,
    )
    places = {}
    for row in colors:
        for color in row:
            ys, xs = np.nonzero((picture == color).all(axis=2))
            assert (len(ys), np.ptp(ys), np.ptp(xs)) == (30 * 40, 29, 39), "the panel is complete, without text on it"
            places[color] = ys[0], xs[0]
    for row in colors:
        assert places[row[0]][0] == places[row[1]][0]
        assert places[row[1]][1] - places[row[0]][1] == 50 + 8
    assert count(picture, (9, 8, 7)) > 100


@pytest.mark.parametrize("width", [1, 5, 60])
def test_titles_of_narrow_cells_are_shortened(width):
    def draw(title):
        rows = [[Panel(np.zeros((5, width, 3), np.uint8))]]
        return sheet(rows, size=(5, width), row_titles=[""], column_titles=[title], keys=[("Road", (9, 8, 7))])

    assert draw("a_long_title").shape == draw("").shape
    # A title for which there is no room is left out.
    assert (draw("a_long_title") != draw("")).any() == (width == 60)


def test_samples_grid(tmp_path, street):
    sample, mask = street
    unlabelled = Sample(sample.image, None, "unlabelled")
    draw_samples(tmp_path / "grid.png", [sample, unlabelled], [mask, mask], CAMVID)
    picture = cv2.imread(str(tmp_path / "grid.png"))
    # The panels have the size of the images, so each image pixel is drawn as one pixel; the legend adds its swatches.
    swatch = count(picture, bgr(1))
    assert swatch > 100, "a class without pixels appears in the legend only"
    assert count(picture, WRONG) == 40 * 60 + swatch
    assert count(picture, bgr(CAR)) == 2 * 40 * 60 + swatch
    truth, prediction = 120 * 300, 120 * 320
    assert count(picture, bgr(ROAD)) == truth + 2 * (prediction - 40 * 60) + swatch
    # Antialiased letters also contain some pixels of this grey.
    assert 0 <= count(picture, NOT_COUNTED) - (240 * 20 + 2 * 240 * 320 + swatch) < 1000


def test_comparison_with_labels(tmp_path, street):
    sample, mask = street
    perfect = np.where(sample.label == VOID, CAR, sample.label).astype(np.uint8)
    draw_comparison(tmp_path / "a.png", [sample, sample], {"one": [mask, mask], "two": [perfect, perfect]}, CAMVID)
    wrong = cv2.imread(str(tmp_path / "a.png"))
    draw_comparison(tmp_path / "b.png", [sample, sample], {"one": [perfect, perfect]}, CAMVID)
    right = cv2.imread(str(tmp_path / "b.png"))
    swatch = count(right, bgr(1))
    # Nothing is outlined where the prediction is correct or the label is void.
    assert count(right, bgr(ROAD)) == 2 * 2 * 120 * 300 + swatch
    assert count(right, bgr(CAR)) == 2 * 240 * 20 + swatch
    inner = count(wrong, bgr(CAR)) - 2 * 240 * 20 - swatch
    assert 2 * 30 * 50 <= inner < 2 * 40 * 60, "the car in the first network's row is outlined"
    assert wrong.shape[0] > right.shape[0]
    assert wrong.shape[1] == right.shape[1]


def test_comparison_without_labels_refers_to_the_first_network(tmp_path, street):
    sample, mask = street
    image = Sample(sample.image, None, "photo")
    empty = np.full(SIZE, ROAD, np.uint8)
    draw_comparison(tmp_path / "a.png", [image], {"one": [mask], "same": [mask], "empty": [empty]}, CAMVID)
    picture = cv2.imread(str(tmp_path / "a.png"))
    swatch = count(picture, bgr(1))
    assert count(picture, bgr(CAR)) == 2 * 40 * 60 + swatch, "the first network and its equal have no outlines"
    road = 2 * (120 * 320 - 40 * 60) + 240 * 320 + swatch
    assert count(picture, bgr(ROAD)) < road - 2 * (120 + 320), "the third has outlines around sky and car"


def test_comparison_at_another_size(tmp_path, street):
    sample, mask = street
    tall = Sample(np.zeros((400, 100, 3), np.uint8), None, "tall")
    masks = [mask, np.zeros((400, 100), np.uint8)]
    heights = []
    for height in (60, 90):
        path = tmp_path / f"{height}.jpg"
        draw_comparison(path, [Sample(sample.image, None, "wide"), tall], {"n": masks}, CAMVID, (height, 80))
        heights.append(cv2.imread(str(path)).shape[0])
    assert heights[1] - heights[0] == 2 * 30, "each of the two rows grows by 30 pixels"


def test_spread():
    assert spread(100, 4) == [12, 37, 62, 87]
    assert spread(101, 1) == [50]
    assert spread(3, 6) == [0, 1, 2]
    assert spread(1, 1) == [0]


def test_other_formats_are_rejected(tmp_path, street):
    sample, mask = street
    with pytest.raises(LsabinetError, match=r"grid\.gif: expected a file name ending in \.png or \.jpg"):
        draw_samples(tmp_path / "grid.gif", [sample], [mask], CAMVID)
