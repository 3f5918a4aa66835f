"""``lsabinet compare`` on rendered scenes and image files."""

import cv2
import numpy as np
import pytest

from lsabinet_core import cli
from lsabinet_core.cli.compare import network_names
from lsabinet_core.data import open_dataset
from lsabinet_core.inference import Segmenter
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, load_weights, save_weights
from lsabinet_core.plots import comparison


@pytest.fixture(autouse=True)
def verbs(monkeypatch):
    monkeypatch.setattr(cli, "VERBS", ("compare",))


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of each call of the drawing function."""
    calls = []
    draw = comparison.draw_comparison

    def remember(path, samples, predictions, label_set, size):
        calls.append((samples, predictions, label_set))
        draw(path, samples, predictions, label_set, size)

    monkeypatch.setattr(comparison, "draw_comparison", remember)
    return calls


@pytest.fixture
def other_weights(random_weights, tmp_path):
    """The same network, modified to never predict its first class."""
    model, metadata = load_weights(random_weights)
    classifier = [module for module in model.modules() if hasattr(module, "out_channels")][-1]
    classifier.bias.data[0] = -50
    path = tmp_path / "RUN" / "last.safetensors"
    save_weights(path, model, metadata)
    return path


@pytest.fixture
def images(tmp_path, noise_image):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(5):
        cv2.imwrite(str(folder / f"street{index}.png"), noise_image(index, (96, 128)))
    (folder / "notes.txt").write_text("no image")
    return folder


def compare(*arguments) -> int:
    return cli.main(["compare", *map(str, arguments), "--device", "cpu"])


def error(capsys) -> str:
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("lsabinet: error: ")
    return line


def test_on_a_data_set(random_weights, other_weights, tmp_path, drawn, capsys):
    out = tmp_path / "deep" / "compared.png"
    options = ("--dataset", "synthetic", "--split", "test", "--indices", "7", "2", "--size", "90x120")
    assert compare(random_weights, other_weights, *options, "--out", out) == 0
    assert "random, RUN/last on 2 images" in capsys.readouterr().out
    [(samples, predictions, label_set)] = drawn
    assert [sample.name for sample in samples] == ["test_0007", "test_0002"]
    assert label_set == CAMVID
    expected = open_dataset("synthetic", None, "test").sample(2)
    np.testing.assert_array_equal(samples[1].label, expected.label)
    for name, weights in (("random", random_weights), ("RUN/last", other_weights)):
        segmenter = Segmenter.from_pretrained(weights, device="cpu", backend="torch")
        np.testing.assert_array_equal(predictions[name][1], segmenter.segment(expected.image).mask)
    height, width = cv2.imread(str(out)).shape[:2]
    assert height > 4 * 90, "input, true labels and two networks"
    assert width > 2 * 120, "two images"


def test_on_images(random_weights, images, tmp_path, drawn):
    assert compare(random_weights, "--images", images, "--count", 2, "--out", tmp_path / "a.png") == 0
    assert compare(random_weights, "--images", images / "street3.png", images, "--out", tmp_path / "b.jpg") == 0
    assert [sample.name for sample in drawn[0][0]] == ["street1", "street3"]
    assert [sample.name for sample in drawn[1][0]] == ["street3", *(f"street{index}" for index in range(5))]
    assert all(sample.label is None for sample in drawn[0][0])
    assert (tmp_path / "a.png").is_file()
    assert (tmp_path / "b.jpg").is_file()


def test_network_names_are_distinct():
    assert network_names(["a/best.safetensors", "b/best.safetensors", "lsabinet_camvid"]) == [
        "a/best",
        "b/best",
        "lsabinet_camvid",
    ]
    assert network_names(["x/w.safetensors", "v", "y/w.safetensors"]) == ["w (1)", "v", "w (2)"]


def test_errors_are_one_line(random_weights, images, tmp_path, capsys):
    foreign = tmp_path / "cityscapes.safetensors"
    metadata = WeightsMetadata("dabnet", CITYSCAPES, (96, 128), (0.5,) * 3, (0.25,) * 3)
    save_weights(foreign, create_model("dabnet", 19), metadata)
    empty = tmp_path / "empty"
    empty.mkdir()
    (images / "broken.png").write_text("no image")
    out = tmp_path / "out.png"
    synthetic = ("--dataset", "synthetic", "--out", out)
    for arguments, message in (
        ((random_weights, foreign, *synthetic), "has camvid11 (11 classes)"),
        ((foreign, *synthetic), "expected a data set with the classes of the weights"),
        (("nothing", *synthetic), "no weights 'nothing'"),
        ((random_weights, *synthetic, "--indices", 3, 100), "expected 0..99 for 100 images, got 100"),
        ((random_weights, *synthetic, "--count", 30), "at most 24 images"),
        ((random_weights, *synthetic[:-1], tmp_path / "out.bmp"), "ending in .png or .jpg"),
        ((random_weights, *synthetic, "--size", "0x80"), "expected at least 1x1"),
        ((random_weights, "--images", empty, "--out", out), "empty holds no image"),
        ((random_weights, "--images", tmp_path / "none", "--out", out), "expected an image or a folder of images"),
        ((random_weights, "--images", images, "--out", out), "broken.png: not an image"),
    ):
        assert compare(*arguments) == 1, message
        assert message in error(capsys)
    assert not out.exists()


def test_exactly_one_of_images_and_data_set_is_required(random_weights, images, tmp_path, capsys):
    for options in ((), ("--images", images, "--dataset", "synthetic")):
        with pytest.raises(SystemExit, match="2"):
            compare(random_weights, *options, "--out", tmp_path / "a.png")
    assert "not allowed with" in capsys.readouterr().err


def test_an_image_is_not_replaced_by_the_sheet(random_weights, images, capsys):
    out = images / "street3.png"
    before = out.read_bytes()
    assert compare(random_weights, "--images", images, "--out", out) == 1
    assert "is one of the images" in error(capsys)
    assert out.read_bytes() == before
