"""Rendered scenes: exact labels, determinism and the effects of light."""

import numpy as np
import pytest

from lsabinet_core.data.scenes import render as render_module
from lsabinet_core.data.scenes.camera import View
from lsabinet_core.data.scenes.ground import GroundMap, Surface
from lsabinet_core.data.scenes.layout import random_site
from lsabinet_core.data.scenes.light import KINDS, random_light
from lsabinet_core.data.scenes.materials import GROUND, PLAIN
from lsabinet_core.data.scenes.mesh import Mesh
from lsabinet_core.data.scenes.render import render_scene
from lsabinet_core.data.scenes.site import Site
from lsabinet_core.labels import CAMVID

SIZE = (90, 120)
CLASS = {name: index for index, name in enumerate(CAMVID.names)}


def level_view(size=(120, 160), height=1.5, distortion=0.0):
    rotation = np.array([(1, 0, 0), (0, -1, 0), (0, 0, 1)], float)
    return View(np.array([0, height, 0.0]), rotation, 0.8, distortion, size)


def empty_site(light):
    """A site without objects, on a grey plane of the class Road."""
    site = Site(np.random.default_rng(0), light)
    site.mesh = Mesh()
    site.occluders, site.lamps = [], []
    site.ground = GroundMap(np.random.default_rng(0), Surface((0.2, 0.2, 0.2), 0.0, 1.0, CLASS["Road"]))
    return site


def draw(site, view, light):
    ground = site.materials.add(GROUND, (0.2, 0.2, 0.2))
    site.mesh.quad((-500, 0, -60), (1000, 0, 0), (0, 0, 900), ground, 255, normal=(0, 1, 0))
    return render_module._draw(np.random.default_rng(0), site, view, light, ground)


def noon(**changes):
    light = random_light(np.random.default_rng(2), "noon")
    light.cover, light.fog_m, light.wetness, light.snow = 0.0, 1e6, 0.0, 0.0
    light.sun = np.array([0.6, 0.8, 0.0])
    for name, value in changes.items():
        setattr(light, name, value)
    return light


def test_equal_seeds_give_equal_pixels():
    first, second, other = (render_scene(seed, SIZE) for seed in (5, 5, 6))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.label, second.label)
    assert not np.array_equal(first.image, other.image)


def test_samples_have_the_documented_form():
    sample = render_scene(7, SIZE)
    assert sample.image.shape == (*SIZE, 3)
    assert sample.image.dtype == np.uint8
    assert sample.label.shape == SIZE
    assert sample.label.dtype == np.uint8
    assert set(np.unique(sample.label)) <= {*range(11), 255}


def test_every_class_occurs_in_a_few_scenes():
    counts = sum(np.bincount(render_scene(seed, SIZE).label.ravel(), minlength=256) for seed in range(24))
    share = counts / counts.sum()
    assert (counts[:11] > 0).all()
    assert share[255] < 0.15
    assert share[CLASS["Road"]] > 0.15
    assert share[CLASS["Sky"]] > 0.05
    assert share[CLASS["Building"]] > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_light_renders(kind):
    image = render_scene(11, SIZE, kind).image
    assert image.std() > 5


def test_a_box_covers_the_pixels_of_its_projection():
    """The box is 2 m wide and 1 m high, and its front is 8 m ahead; the camera is at a height of 1.5 m."""
    light, view = noon(), level_view()
    site = empty_site(light)
    material = site.materials.add(PLAIN, (0.5, 0.1, 0.1))
    site.mesh.box((0, 0, 9.0), (2.0, 1.0, 2.0), 0.0, material, CLASS["Car"])
    label = draw(site, view, light)[1]
    focal = view.focal * view.size[1]
    columns = np.flatnonzero((label == CLASS["Car"]).any(axis=0))
    rows = np.flatnonzero((label == CLASS["Car"]).any(axis=1))
    assert columns[0] == pytest.approx(80 - focal / 8, abs=1)
    assert columns[-1] == pytest.approx(79 + focal / 8, abs=1)
    # Highest row: the rear edge of the top face, 10 m ahead and 0.5 m below the camera; lowest: the foot of the front.
    assert rows[0] == pytest.approx(60 + focal * 0.5 / 10, abs=1)
    assert rows[-1] == pytest.approx(59 + focal * 1.5 / 8, abs=1)
    assert (label[:55] == CLASS["Sky"]).all()
    assert (label[-5:] == CLASS["Road"]).all()


def test_a_box_shades_the_ground_away_from_the_sun():
    """The sun is on the right, so the 2 m high box casts a shadow of 1.5 m to its left."""
    view, light = level_view(), noon()
    site = empty_site(light)
    material = site.materials.add(PLAIN, (0.5, 0.5, 0.5))
    site.mesh.box((0, 0, 8.0), (1.0, 2.0, 1.0), 0.0, material, CLASS["Car"])
    image = draw(site, view, light)[0].mean(axis=2)
    focal = view.focal * view.size[1]
    row = int(60 + focal * 1.5 / 8.0)

    def at(x):
        return image[row, int(80 + focal * x / 8.0)]

    assert at(-1.2) < 0.6 * at(1.2)
    assert at(-3.2) == pytest.approx(at(1.2), rel=0.1)


def test_fog_hides_distant_ground_more_than_near_ground():
    view = level_view()
    clear, foggy = (draw(empty_site(light), view, light)[0] for light in (noon(), noon(fog_m=30.0)))
    fog = noon().fog_color
    near, far = -1, 62  # seen from a height of 1.5 m, the last row is 3.2 m ahead, and row 62 about 77 m
    assert np.abs(foggy[near] - clear[near]).mean() < 0.35 * np.abs(foggy[far] - clear[far]).mean()
    assert foggy[far].mean(axis=0) == pytest.approx(fog, rel=0.2)


def test_distortion_moves_image_and_label_together():
    light = noon()
    bent = level_view(distortion=-0.2)
    site = empty_site(light)
    material = site.materials.add(PLAIN, (0.9, 0.05, 0.05))
    site.mesh.box((1.5, 0, 4.0), (0.5, 3.0, 0.5), 0.0, material, CLASS["Pole"])
    image, label = draw(site, bent, light)
    red = image[..., 0] > 2.5 * image[..., 2]
    assert image.shape[:2] == bent.size == label.shape
    assert (red == (label == CLASS["Pole"])).mean() > 0.97
    assert (label == CLASS["Pole"]).sum() > 200


def test_night_is_dark_away_from_the_lamps():
    light = random_light(np.random.default_rng(3), "night")
    light.beam, light.fog_m, light.wetness = 0.0, 1e6, 0.0
    view = level_view()
    dark = draw(empty_site(light), view, light)[0][-30:].mean()
    site = empty_site(light)
    site.lamps.append((np.array([0.0, 5.0, 5.0]), (1.0, 0.8, 0.5), False))
    assert draw(site, view, light)[0][-30:].mean() > 3 * dark


def test_no_plot_overlaps_a_side_road():
    for seed in range(6):
        site = random_site(np.random.default_rng(seed), random_light(np.random.default_rng(seed)))
        for at, wide, side in site.junctions:
            for s in (-1, 1):
                if side in (0, s) and 0 < at < site.end:
                    assert not site.is_free(at - 0.5 * wide, at + 0.5 * wide, s)
