"""Image files are converted to BGR uint8; lost pages and doubtful value ranges are reported."""

import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from lsabinet_core.errors import FrameError
from lsabinet_core.images import read_image, write_image


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def ramp(peak, size=(30, 40)):
    return np.linspace(0, peak, size[0] * size[1] * 3).round().astype(np.uint16).reshape(*size, 3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_images_are_scaled_like_camera_messages(tmp_path, caplog, suffix):
    path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(path), ramp(65535))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert np.abs(image - ramp(65535) / 257).max() <= 0.5
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(("bits", "factor"), [(12, 16), (10, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_10_or_12_bits_in_a_16_bit_file_are_reported_once_per_folder(tmp_path, caplog, bits, factor, channels):
    peak = (1 << bits) - 1
    image = ramp(peak) if channels == 3 else ramp(peak)[..., 2]
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), image)
        assert read_image(tmp_path / name).shape == (30, 40, 3)
    (warning,) = warnings_of(caplog)
    assert "a.png" in warning
    assert f" {image.max()} of 65535" in warning
    assert f"multiply them by {factor} " in warning
    cv2.imwrite(str(tmp_path / "corrected.png"), image * factor)
    assert read_image(tmp_path / "corrected.png").max() == 255
    assert len(warnings_of(caplog)) == 1


def test_dark_8_bit_images_and_black_images_are_not_reported(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "dark.png"), np.full((4, 5, 3), 3, np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((4, 5, 3), np.uint16))
    cv2.imwrite(str(tmp_path / "dusk.png"), np.full((4, 5, 3), 4096, np.uint16))
    assert [read_image(tmp_path / f"{name}.png").max() for name in ("dark", "black", "dusk")] == [3, 0, 16]
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("suffix", ["tif", "webp"])
def test_ignored_pages_are_reported(tmp_path, caplog, suffix):
    pages = [Image.fromarray(np.full((20, 30, 3), level, np.uint8)) for level in (10, 120, 240)]
    path = tmp_path / f"pages.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    for _ in range(2):
        assert read_image(path).mean() == pytest.approx(10, abs=2)
    (warning,) = warnings_of(caplog)
    assert f"pages.{suffix}" in warning
    assert "3 pages" in warning
    pages[0].save(tmp_path / f"single.{suffix}")
    read_image(tmp_path / f"single.{suffix}")
    assert len(warnings_of(caplog)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_values_of_unknown_range_are_rejected(tmp_path, dtype):
    path = tmp_path / "other.tif"
    cv2.imwrite(str(path), np.full((20, 30, 3), 1, dtype))
    with pytest.raises(FrameError, match=r"other.tif: (expected 8 or 16 bits|not an image)"):
        read_image(path)


def test_names_that_are_not_utf_8(tmp_path):
    path = tmp_path / "stra\udcdfe.png"
    Image.fromarray(np.full((4, 5, 3), 9, np.uint8)).save(path)
    assert (read_image(path) == 9).all()


def test_broken_links_are_rejected(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FrameError, match=r"link.png: cannot be read"):
        read_image(tmp_path / "link.png")


def test_an_image_that_is_too_large_for_its_format_is_not_written(tmp_path):
    path = tmp_path / "long.jpg"
    with pytest.raises(FrameError, match=r"long.jpg: an image of 65501x1 cannot be written as .jpg"):
        write_image(path, np.zeros((65501, 1, 3), np.uint8))
    assert not list(tmp_path.iterdir())
    write_image(path.with_suffix(".png"), np.zeros((65501, 1, 3), np.uint8))
    assert read_image(path.with_suffix(".png")).shape == (65501, 1, 3)
