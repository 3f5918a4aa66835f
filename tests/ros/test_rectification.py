"""Rectified frames against the formulas of the distortion models, written out here."""

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo

from lsabinet_core.errors import FrameError
from lsabinet_ros.rectification import Rectifier

HEIGHT, WIDTH = 120, 160
CAMERA = np.array([[110.0, 0, 82.0], [0, 112.0, 58.0], [0, 0, 1]])
PROJECTION = np.array([[100.0, 0, 80.0, -12.0], [0, 101.0, 61.0, 0], [0, 0, 1, 0]])
ROTATION = cv2.Rodrigues(np.array([0.02, -0.1, 0.01]))[0]
COEFFICIENTS = {
    "plumb_bob": [-0.25, 0.07, 0.002, -0.001, 0.01],
    "rational_polynomial": [-0.25, 0.07, 0.002, -0.001, 0.01, 0.02, -0.01, 0.005],
    "equidistant": [-0.05, 0.01, -0.002, 0.001],
}


def camera_info(model: str = "plumb_bob", **changes) -> CameraInfo:
    info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model=model, d=COEFFICIENTS.get(model, []))
    info.k, info.r, info.p = CAMERA.ravel(), ROTATION.ravel(), PROJECTION.ravel()
    for name, value in changes.items():
        setattr(info, name, value)
    return info


def ramp() -> np.ndarray:
    """Every pixel tells its own column and row, so that a rectified frame tells where its pixels come from."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
    return np.ascontiguousarray(np.stack([columns, rows, np.full_like(rows, 255)], axis=2))


def sources(model: str, d: list[float], rotation=ROTATION) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in the distorted image, (H, W), of each pixel of the rectified one."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    rays = np.stack([(u - PROJECTION[0, 2]) / PROJECTION[0, 0], (v - PROJECTION[1, 2]) / PROJECTION[1, 1], u * 0 + 1])
    x, y, z = np.einsum("ji,jhw->ihw", rotation, rays)
    x, y = x / z, y / z
    r2 = x * x + y * y
    if model == "equidistant":
        theta = np.arctan(np.sqrt(r2))
        k1, k2, k3, k4 = d
        bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
        scale = np.divide(bent, np.sqrt(r2), out=np.ones_like(r2), where=r2 > 0)
        x, y = x * scale, y * scale
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = [*d, *[0.0] * (8 - len(d))]
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    return CAMERA[0, 0] * x + CAMERA[0, 2], CAMERA[1, 1] * y + CAMERA[1, 2]


@pytest.mark.parametrize("model", COEFFICIENTS)
def test_pixels_come_from_where_the_model_says(model):
    rectifier = Rectifier()
    pixels = rectifier.rectify(ramp(), camera_info(model))
    columns, rows = sources(model, COEFFICIENTS[model])
    inside = (columns >= 0) & (columns <= WIDTH - 1) & (rows >= 0) & (rows <= HEIGHT - 1)
    assert 0.5 < inside.mean() < 1
    # OpenCV interpolates in steps of 1/32 of a pixel.
    assert np.abs(pixels[..., 0][inside] - columns[inside]).max() < 0.6
    assert np.abs(pixels[..., 1][inside] - rows[inside]).max() < 0.6

    values = np.full((HEIGHT, WIDTH), 3, np.uint8)
    hidden = rectifier.hide_unseen(values, 255)
    assert ((hidden == 3) == inside).mean() > 0.99
    assert set(np.unique(hidden)) == {3, 255}
    assert (values == 3).all()


def test_without_distortion_and_rotation_nothing_is_hidden():
    rectifier = Rectifier()
    frame = ramp()
    projection = np.hstack([CAMERA, np.zeros((3, 1))]).ravel()
    # Drivers leave the rotation at zero.
    info = camera_info(d=[], r=np.zeros(9), p=projection)
    np.testing.assert_array_equal(rectifier.rectify(frame, info), frame)
    values = frame[..., 0]
    assert rectifier.hide_unseen(values, 255) is values


def test_maps_are_computed_after_a_change_only(monkeypatch):
    calls = []
    compute = cv2.initUndistortRectifyMap
    monkeypatch.setattr(cv2, "initUndistortRectifyMap", lambda *args: calls.append(args) or compute(*args))
    rectifier = Rectifier()
    for _ in range(3):
        # A new message with the same content, as drivers send one beside every image.
        first = rectifier.rectify(ramp(), camera_info())
    assert len(calls) == 1
    second = rectifier.rectify(ramp(), camera_info(d=[0.1, 0.0, 0.0, 0.0, 0.0]))
    assert len(calls) == 2
    assert (first != second).any()


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (camera_info(height=60), ["160x60", "160x120"]),
        (camera_info(k=np.zeros(9)), ["calibrated", "in k"]),
        (camera_info(p=np.zeros(12)), ["calibrated", "in p"]),
        (camera_info(d=[0.0, float("nan"), 0.0, 0.0]), ["finite"]),
        (camera_info("fov"), ["'fov'", "plumb_bob, rational_polynomial, equidistant"]),
        (camera_info("equidistant", d=[0.0] * 5), ["equidistant", "0, 4", "got 5"]),
        (camera_info(binning_x=2), ["binning"]),
    ],
)
def test_a_calibration_that_cannot_be_used_is_named(info, words):
    rectifier = Rectifier()
    for _ in range(2):
        with pytest.raises(FrameError) as error:
            rectifier.rectify(ramp(), info)
        message = str(error.value)
        assert "\n" not in message
        assert [word for word in words if word not in message] == []
    # The next valid one is used.
    assert rectifier.rectify(ramp(), camera_info()).shape == (HEIGHT, WIDTH, 3)
