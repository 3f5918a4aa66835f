"""Augmentation: image and label move together, padding is void, the same seed gives the same view."""

import cv2
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsabinet_core.data.augment import Augmentation, augment, scaled_size, zoom_to
from lsabinet_core.data.sample import Sample

FILL = (10, 20, 30)


def sample(height=40, width=60) -> Sample:
    """An image whose pixels encode label and position: channel 0 is the label, 1 the row, 2 the column."""
    label = np.random.default_rng(1).integers(0, 11, (height, width), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    return Sample(np.dstack([label, rows, columns]).astype(np.uint8), label, "made")


def views(settings, count=50):
    made = sample()
    return [augment(made, settings, FILL, np.random.default_rng(seed)) for seed in range(count)]


def test_crop_and_mirror_move_image_and_label_together():
    directions = set()
    places = set()
    for image, label in views(Augmentation(crop_size=(24, 32))):
        assert image.shape == (24, 32, 3)
        assert label.shape == (24, 32)
        assert np.array_equal(image[..., 0], label)
        rows, columns = image[..., 1].astype(int), image[..., 2].astype(int)
        assert (np.diff(rows, axis=0) == 1).all()
        directions.add(int(columns[0, 1] - columns[0, 0]))
        places.add((rows.min(), columns.min()))
    assert directions == {-1, 1}
    assert {row for row, _ in places} <= set(range(17))
    assert {column for _, column in places} <= set(range(29))
    assert len(places) > 30


def test_no_mirror_and_always_mirror():
    for chance, step in ((0.0, 1), (1.0, -1)):
        for image, _ in views(Augmentation(crop_size=(24, 32), mirror=chance), 10):
            assert int(image[0, 1, 2]) - int(image[0, 0, 2]) == step


@pytest.mark.parametrize(
    ("size", "input_size", "zoom"),
    [
        ((360, 480), (360, 480), 1),
        ((1024, 2048), (1024, 2048), 1),
        ((720, 960), (360, 480), 0.5),
        ((720, 1280), (360, 480), (172800 / 921600) ** 0.5),
        ((180, 240), (360, 480), 2),
        # A size within the tolerance of the input size is not resized.
        ((363, 484), (360, 480), 1),
    ],
)
def test_zoom_matches_the_inference_scale_for_any_image_size(size, input_size, zoom):
    assert zoom_to(size, input_size) == pytest.approx(zoom)


def test_zoomed_crop_of_the_input_size_shows_the_whole_image():
    made = sample(80, 120)
    settings = Augmentation(crop_size=(40, 60), mirror=0)
    image, label = augment(made, settings, FILL, np.random.default_rng(0), zoom=zoom_to((80, 120), (40, 60)))
    expected = cv2.resize(made.image, (60, 40), interpolation=cv2.INTER_AREA)
    assert np.array_equal(image, expected)
    assert (label < 11).all()


def test_padding_is_void_and_of_the_fill_colour():
    image, label = augment(sample(), Augmentation(crop_size=(50, 60), mirror=0), FILL, np.random.default_rng(0))
    assert (label[:5] == 255).all()
    assert (label[45:] == 255).all()
    assert (label[5:45] < 11).all()
    assert (image[:5] == FILL).all()
    assert (image[45:] == FILL).all()
    assert np.array_equal(image[5:45], sample().image)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_scale(scale):
    settings = Augmentation(crop_size=(8, 8), scales=(scale,), mirror=0)
    smooth = Sample(sample().image, sample().label, "rows")
    image, label = augment(smooth, settings, FILL, np.random.default_rng(3))
    step = np.diff(image[..., 1].astype(float), axis=0).mean()
    assert step == pytest.approx(1 / scale, rel=0.2)
    # Labels are resized with nearest neighbours, so no new values appear.
    assert set(np.unique(label)) <= set(range(11))


def test_all_scales_are_drawn():
    made = sample()
    settings = Augmentation(crop_size=(30, 45), scales=(0.75, 1.0, 2.0), mirror=0)
    void_share = set()
    for seed in range(40):
        _, label = augment(made, settings, FILL, np.random.default_rng(seed))
        void_share.add(round(float((label == 255).mean()), 2))
    assert 0.0 in void_share
    steps = {
        round(
            float(
                np.diff(augment(made, settings, FILL, np.random.default_rng(seed))[0][5:25, 5, 1].astype(int)).mean()
            ),
            1,
        )
        for seed in range(40)
    }
    assert {1.0, 0.5} <= steps
    assert any(step > 1.2 for step in steps)


def test_photometric_changes_the_image_only():
    plain = Augmentation(crop_size=(40, 60), mirror=0)
    for name in ("brightness", "contrast", "saturation"):
        settings = plain.model_copy(update={name: 0.5})
        image, label = augment(sample(), settings, FILL, np.random.default_rng(5))
        assert np.array_equal(label, sample().label)
        assert not np.array_equal(image, sample().image)
    grey = np.full((40, 60, 3), 100, np.uint8)
    image, _ = augment(
        Sample(grey, sample().label, "grey"),
        plain.model_copy(update={"saturation": 0.9}),
        FILL,
        np.random.default_rng(5),
    )
    # Saturation has no effect on grey, and contrast has none on a uniform image.
    assert np.abs(image.astype(int) - 100).max() <= 1


def test_same_seed_same_view():
    settings = Augmentation(crop_size=(24, 32), scales=(0.75, 1.5), brightness=0.3, contrast=0.3, saturation=0.3)
    first = augment(sample(), settings, FILL, np.random.default_rng([1, 2, 3]))
    again = augment(sample(), settings, FILL, np.random.default_rng([1, 2, 3]))
    other = augment(sample(), settings, FILL, np.random.default_rng([1, 2, 4]))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("key", "value"),
    [("scales", (1.0, 0.0)), ("crop_size", (0, 32)), ("mirror", 1.1), ("mirror", -1)],
)
def test_values_out_of_range_are_rejected(key, value):
    with pytest.raises(pydantic.ValidationError, match=key):
        Augmentation(**{key: value})


@given(st.tuples(st.integers(1, 4096), st.integers(1, 4096)), st.floats(0.01, 8), st.floats(1, 4))
def test_scaled_sizes(size, scale, more):
    scaled = scaled_size(size, scale)
    for side, old in zip(scaled, size, strict=True):
        assert side >= 1
        assert side == 1 or abs(side - old * scale) <= 0.5
    assert all(larger >= side for larger, side in zip(scaled_size(size, scale * more), scaled, strict=True))
    assert scaled_size(size, 1.0) == size
