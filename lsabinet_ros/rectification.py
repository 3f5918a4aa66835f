"""Rectifies frames by the calibration of their camera."""

from collections.abc import Callable

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo

from lsabinet_core.errors import FrameError

_Maps = tuple[np.ndarray, np.ndarray]

_COEFFICIENTS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 8, 12, 14), "equidistant": (0, 4)}
"""Possible numbers of coefficients by distortion model; 0 is no distortion."""


class Rectifier:
    """Removes the distortion of the lens and aligns the cameras of a stereo pair, like image_proc.

    The maps are computed at the first frame and after each change of the calibration.
    """

    def __init__(self):
        self._calibration: tuple | None = None
        self._maps: _Maps | None = None
        self._seen: np.ndarray | None = None

    def rectify(self, frame: np.ndarray, info: CameraInfo) -> np.ndarray:
        """The frame as a camera without distortion would see it, whose matrix is the left part of ``info.p``.

        Args:
            frame: BGR, uint8 (H, W, 3), of the size for which the camera is calibrated.
            info: the calibration.

        Returns:
            BGR, uint8 (H, W, 3), black where the camera sees nothing.

        Raises:
            FrameError: the frame has another size, or the calibration is incomplete, invalid or of an unknown model.
        """
        height, width = frame.shape[:2]
        if (info.height, info.width) != (height, width):
            raise FrameError(
                f"expected an image of the calibrated size, {info.width}x{info.height}, got {width}x{height}"
            )
        calibration = _values(info)
        if calibration != self._calibration or self._maps is None:
            self._calibration, self._maps = calibration, None
            self._maps = _maps(info)
            seen = self._remap(np.full((height, width), 255, np.uint8))
            # Pixels at the border are interpolated between the image and black.
            self._seen = None if (seen == 255).all() else np.where(seen == 255, np.uint8(255), np.uint8(0))
        return self._remap(frame)

    def hide_unseen(self, values: np.ndarray, fill: int) -> np.ndarray:
        """The values, uint8 (H, W), with ``fill`` where the camera of the last rectified frame sees nothing."""
        if self._seen is None:
            return values
        hidden = np.full_like(values, fill)
        cv2.copyTo(values, self._seen, hidden)
        return hidden

    def _remap(self, pixels: np.ndarray) -> np.ndarray:
        assert self._maps is not None
        return cv2.remap(pixels, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _values(info: CameraInfo) -> tuple:
    """The values on which the maps depend."""
    region = info.roi
    return (
        (info.height, info.width, info.distortion_model, info.binning_x, info.binning_y),
        (region.x_offset, region.y_offset, region.height, region.width),
        *(tuple(matrix) for matrix in (info.d, info.k, info.r, info.p)),
    )


def _maps(info: CameraInfo) -> _Maps:
    """The maps for ``cv2.remap``; raises FrameError if the calibration cannot be used."""
    camera = np.array(info.k, np.float64).reshape(3, 3)
    rotation = np.array(info.r, np.float64).reshape(3, 3)
    projection = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
    coefficients = np.array(info.d, np.float64)
    if not all(np.isfinite(matrix).all() for matrix in (camera, rotation, projection, coefficients)):
        raise FrameError("expected a calibration with finite numbers, got NaN or infinity")
    for name, matrix in (("k", camera), ("p", projection)):
        if matrix[0, 0] == 0 or matrix[1, 1] == 0:
            raise FrameError(f"expected the CameraInfo of a calibrated camera, got one with focal length 0 in {name}")
    if max(info.binning_x, info.binning_y) > 1 or info.roi.x_offset or info.roi.y_offset:
        raise FrameError("expected the CameraInfo of the full image, got one with binning or a region of interest")
    possible = _COEFFICIENTS.get(info.distortion_model)
    if possible is None:
        raise FrameError(
            f"expected one of the distortion models {', '.join(_COEFFICIENTS)}, got {info.distortion_model!r}"
        )
    if len(coefficients) not in possible:
        numbers = ", ".join(map(str, possible))
        raise FrameError(
            f"expected {info.distortion_model} with one of these numbers of coefficients: {numbers}; got "
            f"{len(coefficients)}"
        )
    if len(coefficients) == 0:
        coefficients = np.zeros(4)
    compute: Callable = (
        cv2.fisheye.initUndistortRectifyMap if info.distortion_model == "equidistant" else cv2.initUndistortRectifyMap
    )
    # Drivers leave the rotation of a camera that is not part of a stereo pair at zero.
    rotation = rotation if rotation.any() else np.eye(3)
    try:
        return compute(camera, coefficients, rotation, projection, (info.width, info.height), cv2.CV_16SC2)
    except cv2.error as error:
        raise FrameError(f"the calibration cannot be used: {error.err}") from None
