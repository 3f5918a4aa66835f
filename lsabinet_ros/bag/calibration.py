"""The calibration of a camera: from a file of ROS's camera_calibration, or from a field of view."""

import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from lsabinet_core.errors import BagError
from lsabinet_core.files import read_text


@dataclass(frozen=True)
class Calibration:
    """The calibration in a sensor_msgs/CameraInfo.

    Attributes:
        size: (H, W) of the images.
        distortion_model: such as ``plumb_bob``.
        distortion: its coefficients.
        camera_matrix, rectification_matrix: row by row, 9 values.
        projection_matrix: row by row, 12 values.
    """

    size: tuple[int, int]
    distortion_model: str
    distortion: tuple[float, ...]
    camera_matrix: tuple[float, ...]
    rectification_matrix: tuple[float, ...]
    projection_matrix: tuple[float, ...]

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise BagError if ``size`` (H, W) of an image is not that of the calibration."""
        if size != self.size:
            raise BagError(
                f"expected images of {self.size[0]}x{self.size[1]}, the size of the calibration, got "
                f"{size[0]}x{size[1]}"
            )


def pinhole(size: tuple[int, int], field_of_view_deg: float) -> Calibration:
    """A camera without distortion.

    Args:
        size: (H, W) of the images.
        field_of_view_deg: horizontal field of view, above 0 and below 180.
    """
    height, width = size
    focal = width / 2 / math.tan(math.radians(field_of_view_deg) / 2)
    # The centre of the first pixel is at 0.
    x, y = (width - 1) / 2, (height - 1) / 2
    return Calibration(
        size,
        "plumb_bob",
        (0.0,) * 5,
        (focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        (focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file.

    Raises:
        BagError: the file cannot be read, or a value is missing or has another length.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except OSError as error:
        raise BagError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError):
        raise BagError(f"{path} is not a YAML file") from None
    content = content if isinstance(content, dict) else {}
    height, width = content.get("image_height"), content.get("image_width")
    if not (isinstance(height, int) and isinstance(width, int) and min(height, width) > 0):
        raise BagError(f"expected image_height and image_width in {path}, as camera_calibration writes them")
    model = content.get("distortion_model")
    if not isinstance(model, str):
        raise BagError(f"expected distortion_model in {path}, such as plumb_bob")
    return Calibration(
        (height, width),
        model,
        _values(content, "distortion_coefficients", None, path),
        _values(content, "camera_matrix", 9, path),
        _values(content, "rectification_matrix", 9, path),
        _values(content, "projection_matrix", 12, path),
    )


def _values(content: dict, key: str, count: int | None, path: Path) -> tuple[float, ...]:
    entry = content.get(key)
    data = entry.get("data") if isinstance(entry, dict) else None
    if not isinstance(data, list) or not all(isinstance(value, int | float) for value in data):
        raise BagError(f"expected {key} with a list of numbers as data in {path}")
    if count is not None and len(data) != count:
        raise BagError(f"expected {count} numbers in {key} in {path}, got {len(data)}")
    return tuple(map(float, data))
