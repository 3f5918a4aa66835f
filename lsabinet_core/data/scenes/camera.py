"""The camera of a scene: position, orientation and lens distortion."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class View:
    """A pinhole camera with one coefficient of radial distortion.

    Attributes:
        position: world metres. rotation: rows are the camera's right, down and ahead in world axes.
        focal: in image widths. distortion: k1 of the OpenCV model, negative for a barrel; 0 for none.
        size: (height, width) in pixels.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: float
    distortion: float
    size: tuple[int, int]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        return (points - self.position) @ self.rotation.T

    @property
    def margin(self) -> float:
        """Factor by which the undistorted image must be larger than the final one to fill its corners."""
        if self.distortion >= 0:
            return 1.0
        aspect = self.size[0] / self.size[1]
        x, y = 0.5 / self.focal, 0.5 * aspect / self.focal
        corner = _undistorted(np.array([[x, y]]), self.distortion)[0]
        return float(np.clip(max(corner[0] / x, corner[1] / y), 1.0, 1.6))

    def distort(self, picture: np.ndarray, nearest: bool) -> np.ndarray:
        """Apply the lens distortion to an image that has `margin` times `size`, or an integer multiple of that."""
        if self.distortion == 0:
            return picture
        height, width = self.size
        rows, columns = np.mgrid[:height, :width].astype(np.float64)
        x = (columns + 0.5 - width / 2) / (self.focal * width)
        y = (rows + 0.5 - height / 2) / (self.focal * width)
        straight = _undistorted(np.stack([x.ravel(), y.ravel()], 1), self.distortion)
        samples = picture.shape[1] / (width * self.margin)
        focal = self.focal * width * samples
        map_x = (straight[:, 0] * focal + picture.shape[1] / 2 - 0.5).reshape(height, width).astype(np.float32)
        map_y = (straight[:, 1] * focal + picture.shape[0] / 2 - 0.5).reshape(height, width).astype(np.float32)
        flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(picture, map_x, map_y, flags, borderMode=cv2.BORDER_REPLICATE)


def _undistorted(points: np.ndarray, k1: float) -> np.ndarray:
    """Return the undistorted image coordinates of distorted ones, by fixed-point iteration."""
    straight = points.copy()
    for _ in range(6):
        straight = points / (1 + k1 * np.sum(straight * straight, axis=1, keepdims=True))
    return straight


def random_view(rng: np.random.Generator, size: tuple[int, int], x: float, heading: float) -> View:
    """Draw a camera on a vehicle at lateral position x on a road with direction `heading` (radians)."""
    height = float(rng.choice([rng.uniform(1.1, 1.6), rng.uniform(1.6, 2.8)], p=(0.75, 0.25)))
    # The horizontal field of view is 38 to 115 degrees, mostly 48 to 76.
    degrees = rng.choice([rng.uniform(48, 76), rng.uniform(38, 50), rng.uniform(76, 115)], p=(0.66, 0.14, 0.2))
    focal = 0.5 / np.tan(np.deg2rad(degrees) / 2)
    yaw = heading + rng.normal(0, 0.06) + (rng.normal(0, 0.35) if rng.random() < 0.12 else 0.0)
    pitch = rng.normal(0.03, 0.045)
    roll = rng.normal(0, 0.015)
    ahead = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0, -np.sin(yaw)])
    down = np.cross(right, ahead)
    rotation = np.stack([right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll), ahead])
    # The distortion is limited by its value at the corners, where a stronger one would fold the image over.
    corner = (1 + (size[0] / size[1]) ** 2) * (0.5 / focal) ** 2
    bend = float(rng.uniform(-0.13, -0.02)) / corner if rng.random() < 0.35 else 0.0
    return View(np.array([x, height, 0.0]), rotation, float(focal), bend, size)
