"""Procedural streets: geometry against hand-computed projections, determinism and statistics."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lsabinet_core.data.street.buildings import Building, FacadeStyle, Fence
from lsabinet_core.data.street.camera import Camera
from lsabinet_core.data.street.canvas import Canvas
from lsabinet_core.data.street.element import Course, Motion
from lsabinet_core.data.street.furniture import LampPost, RoadSign, StreetTree, TrafficLight
from lsabinet_core.data.street.layout import random_street
from lsabinet_core.data.street.light import random_light
from lsabinet_core.data.street.people import Cyclist, Pedestrian
from lsabinet_core.data.street.render import render
from lsabinet_core.data.street.textures import canopy
from lsabinet_core.data.street.vehicles import Car
from lsabinet_core.data.synthetic import DRIVE_RATE, SPLITS, SyntheticDataset, drive_camera
from lsabinet_core.errors import DatasetError
from lsabinet_core.labels import CAMVID

SIZE = (120, 160)
CLASS = {name: index for index, name in enumerate(CAMVID.names)}
GREY = (120.0, 120.0, 120.0)


def digest(sample) -> str:
    return hashlib.sha256(sample.image.tobytes() + sample.label.tobytes()).hexdigest()


def bare_street(*elements):
    """A straight, evenly lit street without shadows, noise or blur; 4 m to the kerbs, pavements 2 m wide."""
    street = random_street(np.random.default_rng(5), 60.0, 0.0)
    light = replace(street.light, diffuse=0.0, ambient=1.0, noise=0.0, blur=0.0, vignette=0.0)
    ground = replace(street.ground, half_road=4.0, pavement=(2.0, 2.0), crossings=())
    return replace(street, course=Course(), light=light, ground=ground, elements=elements)


def level_camera(height=1.3, z=0.0, size=(360, 480), focal=400.0):
    return Camera(position=(0.0, height, z), yaw=0.0, pitch=0.0, focal=focal, size=size)


def pedestrian(s, d):
    return Pedestrian(Motion(s, d), 0.0, 1.75, GREY, GREY, GREY, GREY, False, GREY, 0.0, 0.0)


def facade():
    return FacadeStyle("brick", GREY, GREY, GREY, GREY, 3.0, 2.5, (1.0, 1.4), False, 3)


def tree():
    return StreetTree(Motion(14.0, 2.0), 3.0, (3.0, 3.0), GREY, *canopy(np.random.default_rng(0), GREY, 0.5))


# -- geometry ------------------------------------------------------------------------------------------------------


def test_kerb_and_verge_match_the_pinhole_model():
    _, label = render(bare_street(), level_camera(), 0.0, 0)
    center_x, center_y, focal, eye = 239.5, 179.5, 400.0, 1.3
    assert not np.isin(label[:180], [CLASS["Road"], CLASS["Pavement"]]).any(), "ground above the horizon"
    assert (label[:150] == CLASS["Sky"]).all()
    for row in (230, 260, 300, 350):
        depth = focal * eye / (row - center_y)
        half_px = 4.0 * focal / depth
        columns = np.flatnonzero(label[row] == CLASS["Road"])
        assert columns[0] == max(0, np.floor(center_x - half_px) + 1), row
        assert columns[-1] == min(479, np.ceil(center_x + half_px) - 1), row
    # The pavement's far edge lies on a plane that is raised by the kerb's 0.13 m.
    row = 215
    edge = 6.0 * focal / (focal * (eye - 0.13) / (row - center_y))
    paved = np.flatnonzero(label[row] == CLASS["Pavement"])
    assert abs(paved[0] - (center_x - edge)) <= 1
    assert label[row, paved[0] - 3] == CLASS["Tree"]


def test_pitch_moves_the_horizon():
    camera = replace(level_camera(), pitch=0.1)
    _, label = render(bare_street(), camera, 0.0, 0)
    horizon = 179.5 - 400.0 * np.tan(0.1)
    rows = np.flatnonzero((label == CLASS["Road"]).any(axis=1))
    assert rows[0] - horizon == pytest.approx(1, abs=1.5)


def test_car_at_a_known_distance_fills_the_expected_box():
    car = Car(Motion(12.0, 0.0), "hatchback", (60.0, 60.0, 160.0))
    _, label = render(bare_street(car), level_camera(), 0.0, 0)
    rows, columns = np.nonzero(label == CLASS["Car"])
    # Length 3.95 m, width 1.72 m, height 1.47 m: its rear is 12 - 1.975 m away, the rear edge of the roof 12 - 1.45 m.
    half_px = 0.86 * 400 / 10.025
    assert columns.min() == pytest.approx(239.5 - half_px, abs=1)
    assert columns.max() == pytest.approx(239.5 + half_px, abs=1)
    assert rows.min() == pytest.approx(179.5 - (1.47 - 1.3) * 400 / 10.55, abs=1)
    assert 179.5 + 1.3 * 400 / 12 < rows.max() < 179.5 + 1.3 * 400 / 10.0


def test_moving_post_matches_the_pinhole_model():
    street = bare_street(LampPost(Motion(20.0, 2.0), "bare", 6.0, 0.15, GREY))
    for z in (0.0, 4.0, 8.0):
        _, label = render(street, level_camera(z=z), 0.0, 0)
        depth = 20.0 - z
        row = int(179.5 - 1.0 * 400 / depth)
        columns = np.flatnonzero(label[row] == CLASS["Pole"])
        assert columns.mean() == pytest.approx(239.5 + 2.0 * 400 / depth, abs=1)
        assert len(columns) == pytest.approx(0.27 * 400 / depth, abs=2)


def test_yaw_turns_the_view_to_the_right():
    camera = replace(level_camera(), yaw=0.2)
    pixel, depth = camera.project(np.array([10 * np.sin(0.2), 1.3, 10 * np.cos(0.2)]))
    assert pixel == pytest.approx((239.5, 179.5))
    assert depth == pytest.approx(10)


def test_nearer_objects_hide_farther_ones():
    car = Car(Motion(12.0, 0.0), "van", (60.0, 60.0, 160.0))
    _, behind = render(bare_street(pedestrian(20.0, 0.0), car), level_camera(), 0.0, 0)
    _, before = render(bare_street(car, pedestrian(7.0, 0.0)), level_camera(), 0.0, 0)
    assert not (behind == CLASS["Pedestrian"]).any()
    assert (before == CLASS["Pedestrian"]).sum() > 500


def test_road_texture_moves_with_the_road():
    street = bare_street()
    images = [render(street, level_camera(z=z), 0.0, 0)[0][..., 1].astype(float) for z in (0.0, 1.0)]
    points = np.array([(x, 0.0, z) for x in np.arange(-2.2, 2.2, 0.1) for z in np.arange(5.0, 8.0, 0.1)])
    points = points[np.abs(points[:, 0]) > 0.3]
    values = []
    for z, image in zip((0.0, 1.0), images):
        columns, rows = np.rint(level_camera(z=z).project(points)[0]).astype(int).T
        values.append(image[rows, columns])
    assert np.corrcoef(values)[0, 1] > 0.6
    unmoved = images[1][tuple(np.rint(level_camera().project(points)[0]).astype(int).T[::-1])]
    assert np.corrcoef(values[0], unmoved)[0, 1] < 0.4


@pytest.mark.parametrize(
    ("element", "classes"),
    [
        (Car(Motion(14.0, 2.0), "saloon", GREY), {"Car"}),
        (Car(Motion(9.0, -2.0), "van", GREY, reverse=True), {"Car"}),
        (pedestrian(8.0, 1.0), {"Pedestrian"}),
        (Cyclist(Motion(8.0, 1.0), 0.7, GREY, GREY, GREY, GREY, GREY, 0.0), {"Bicyclist"}),
        (LampPost(Motion(14.0, 2.0), "lamp", 4.0, 0.12, GREY), {"Pole"}),
        (LampPost(Motion(14.0, 2.0), "telegraph", 4.0, 0.15, GREY), {"Pole"}),
        (RoadSign(Motion(12.0, 2.0), "disc", 0.5, 2.5, GREY, GREY, GREY, GREY, "bar"), {"Pole", "SignSymbol"}),
        (TrafficLight(Motion(12.0, 2.0), 0, GREY), {"Pole", "SignSymbol"}),
        (tree(), {"Tree"}),
        (Fence(Motion(12.0, 3.0), 3.0, "boards", 1.5, GREY, 0.2, 1), {"Fence"}),
        (Fence(Motion(12.0, 3.0), 3.0, "hedge", 1.5, GREY, 0.2, 1), {"Tree"}),
        (Building(Motion(20.0, 6.0), 5.0, 1, 6.0, 8.0, 3.0, GREY, facade()), {"Building"}),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, set) else "-".join(sorted(value)),
)
def test_image_and_label_of_each_object_cover_the_same_pixels(element, classes):
    canvas = Canvas(level_camera(), replace(random_light(np.random.default_rng(0)), ambient=0.9))
    element.draw(canvas, Course(), 0.0)
    painted = canvas.image.any(axis=-1)
    assert painted.sum() > 100
    assert np.array_equal(painted, canvas.label != 255)
    assert {CAMVID.names[i] for i in np.unique(canvas.label[painted])} == classes


def test_railing_has_gaps_in_the_image_but_not_in_the_label():
    canvas = Canvas(level_camera(), random_light(np.random.default_rng(0)))
    Fence(Motion(8.0, 3.0), 2.0, "railing", 1.2, GREY, 0.2, 1).draw(canvas, Course(), 0.0)
    labelled = canvas.label == CLASS["Fence"]
    share = canvas.image.any(axis=-1)[labelled].mean()
    assert labelled.sum() > 1000
    assert 0.2 < share < 0.9


# -- data set ------------------------------------------------------------------------------------------------------


def test_protocol():
    dataset = SyntheticDataset("val")
    sample = dataset.sample(7)
    assert (dataset.name, dataset.split, dataset.label_set, len(dataset)) == ("synthetic", "val", CAMVID, 100)
    assert sample.image.shape == (360, 480, 3)
    assert sample.image.dtype == np.uint8
    assert sample.label.shape == (360, 480)
    assert sample.label.dtype == np.uint8
    assert sample.name == "val_0007"
    assert {split: len(SyntheticDataset(split)) for split in SPLITS} == {
        "train": 2000,
        "val": 100,
        "test": 100,
        "drive": 300,
    }


def test_another_process_draws_the_same_pixels():
    code = (
        "import hashlib; from lsabinet_core.data.synthetic import SyntheticDataset as D\n"
        "for split, i in (('train', 5), ('drive', 17)):\n"
        "    s = D(split, (120, 160)).sample(i)\n"
        "    print(hashlib.sha256(s.image.tobytes() + s.label.tobytes()).hexdigest())\n"
    )
    drive = SyntheticDataset("drive", SIZE)
    drive.sample(250)  # a frame must not depend on the frames drawn before it
    here = [digest(SyntheticDataset("train", SIZE).sample(5)), digest(drive.sample(17))]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert there.stdout.split() == here


def test_splits_share_no_scene():
    samples = [SyntheticDataset(split, SIZE).sample(i) for split in SPLITS for i in range(4)]
    assert len({s.label.tobytes() for s in samples}) == len(samples)
    assert len({s.name for s in samples}) == len(samples)


def test_every_class_is_well_represented():
    dataset = SyntheticDataset("val")
    counts = np.array([np.bincount(dataset.sample(i).label.ravel(), minlength=256) for i in range(0, 100, 5)])
    shares = counts[:, :11].mean(axis=0) / (360 * 480)
    assert not counts[:, 11:].any()
    assert (shares > 0.005).all(), dict(zip(CAMVID.names, shares.round(4)))
    assert shares.max() < 0.5
    assert ((counts[:, :11] > 50).mean(axis=0) >= 0.8).all(), "a class is missing from many images"


def test_images_vary_in_brightness_and_colour():
    dataset = SyntheticDataset("train", SIZE)
    means = np.array([dataset.sample(i).image.mean(axis=(0, 1)) for i in range(16)])
    assert means.mean(axis=1).std() > 5
    assert (means[:, 0] - means[:, 2]).std() > 3
    assert ((means > 40) & (means < 220)).all()


@pytest.mark.parametrize("size", [(97, 131), (33, 17), (240, 427), (16, 16)])
def test_odd_sizes(size):
    for split in ("train", "drive"):
        sample = SyntheticDataset(split, size).sample(1)
        assert sample.image.shape == (*size, 3)
        assert sample.label.shape == size
        assert sample.label.max() < 11


def test_the_scene_does_not_depend_on_the_size():
    small, large = (SyntheticDataset("val", size).sample(3).label for size in ((180, 240), (360, 480)))
    assert (small == large[::2, ::2]).mean() > 0.9


# -- drive ---------------------------------------------------------------------------------------------------------


def test_consecutive_frames_of_the_drive_differ_slightly():
    drive = SyntheticDataset("drive", SIZE)
    first, second, later = (drive.sample(i).label for i in (100, 101, 160))
    assert 0.85 < (first == second).mean() < 0.999
    assert (first == later).mean() < (first == second).mean() - 0.05


def test_the_drive_runs_at_8_metres_per_second_down_the_street():
    start, end = (drive_camera(1, t, 20.0, SIZE).position for t in (0.0, 10.0))
    assert end[2] - start[2] == pytest.approx(80.0)
    assert len(SyntheticDataset("drive")) / DRIVE_RATE == 20.0


# -- errors --------------------------------------------------------------------------------------------------------


def test_unknown_split_error_lists_the_known_splits():
    with pytest.raises(DatasetError, match=r"train, val, test, drive.*'trian'"):
        SyntheticDataset("trian")


@pytest.mark.parametrize("size", [(0, 480), (360, -1), (5000, 480), 360, (360,), ("a", "b"), (360, 480, 3)])
def test_bad_size(size):
    with pytest.raises(DatasetError, match="size"):
        SyntheticDataset("val", size)


@pytest.mark.parametrize("index", [-1, 100])
def test_index_out_of_range(index):
    with pytest.raises(IndexError, match=r"0\.\.99"):
        SyntheticDataset("val").sample(index)
