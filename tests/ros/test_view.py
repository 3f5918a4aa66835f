"""Region of interest and body mask, and the cap of the rate."""

import cv2
import numpy as np
import pytest

from lsabinet_core.errors import FrameError, LsabinetError
from lsabinet_ros.view import View

HEIGHT, WIDTH = 80, 120


def frame() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def body_file(tmp_path):
    """White in the lowest 20 rows, and in the right half of the 30 above."""
    body = np.zeros((HEIGHT, WIDTH), np.uint8)
    body[60:], body[30:60, 60:] = 255, 255
    path = tmp_path / "body.png"
    assert cv2.imwrite(str(path), body)
    return path


def test_without_parameters_nothing_is_copied():
    view, pixels = View(), frame()
    assert view.crop(pixels) is pixels
    mask = pixels[..., 0]
    assert view.restore(mask, mask.shape, 255) is mask
    assert view.mean(mask) == pytest.approx(mask.mean())


def test_region_of_interest():
    view, pixels = View("10, 20,50,40"), frame()
    part = view.crop(pixels)
    np.testing.assert_array_equal(part, pixels[20:60, 10:60])
    assert part.flags.c_contiguous
    whole = view.restore(part[..., 0] // 2, (HEIGHT, WIDTH), 255)
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[20:60, 10:60] = pixels[20:60, 10:60, 0] // 2
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("region", ["", "40,20,60,50"])
def test_body_mask(body_file, tmp_path, region, suffix):
    path = tmp_path / f"copy{suffix}"
    cv2.imwrite(str(path), cv2.imread(str(body_file)))
    view, pixels = View(region, str(path)), frame()
    part = view.crop(pixels)
    expected = pixels[..., 0].copy()
    body = cv2.imread(str(body_file), cv2.IMREAD_GRAYSCALE) == 255
    expected[body] = 7
    if region:
        outside = np.ones((HEIGHT, WIDTH), bool)
        outside[20:70, 40:100] = False
        expected[outside] = 7
        body = body | outside
    np.testing.assert_array_equal(view.restore(part[..., 0], (HEIGHT, WIDTH), 7), expected)
    assert view.mean(part[..., 1]) == pytest.approx(pixels[..., 1][~body].mean())


@pytest.mark.parametrize(
    "region", ["1,2,3", "a,b,c,d", "0,0,31,40", "0,0,40,31", "-1,0,40,40", "0,0,40.5,40", "1,,40,40"]
)
def test_bad_regions_are_named(region):
    with pytest.raises(LsabinetError, match=r"^front\.region_of_interest: expected X,Y,WIDTH,HEIGHT .*32x32") as caught:
        View(region, prefix="front.")
    assert repr(region) in str(caught.value)


def test_bad_body_masks_are_named(tmp_path, body_file):
    def write(name: str, value: int):
        cv2.imwrite(str(tmp_path / name), np.full((HEIGHT, WIDTH), value, np.uint8))
        return str(tmp_path / name)

    text = tmp_path / "text.png"
    text.write_text("no image")
    cases = {
        str(tmp_path / "missing.png"): "missing.png",
        str(text): "text.png",
        write("black.png", 1): "white pixels",
        write("white.png", 255): "not white",
    }
    for path, words in cases.items():
        with pytest.raises(LsabinetError, match=f"^body_mask: .*{words}"):
            View(body_mask=path)
    with pytest.raises(LsabinetError, match=r"^body_mask: .*0,0,121,80.*120x80"):
        View("0,0,121,80", str(body_file))
    # What remains of the region is all vehicle.
    with pytest.raises(LsabinetError, match=r"^body_mask: .*not white"):
        View("60,30,60,50", str(body_file))


def test_frames_that_do_not_fit_are_rejected(body_file):
    with pytest.raises(FrameError, match=r"body mask, 120x80, got 60x40"):
        View(body_mask=str(body_file)).crop(frame()[:40, :60])
    with pytest.raises(FrameError, match=r"10,20,50,40, got 59x60"):
        View("10,20,50,40").crop(frame()[:60, :59])
    with pytest.raises(FrameError, match=r"32x32 pixels, got 120x31"):
        View().crop(frame()[:31])
