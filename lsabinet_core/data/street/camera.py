"""Pinhole camera over the street."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Camera:
    """A camera without roll.

    Attributes:
        position: (x, y, z) in metres.
        yaw: heading in radians, positive to the right (+x); 0 looks along +z.
        pitch: radians, positive looks down.
        focal: focal length in pixels.
        size: (height, width) of the image. The principal point is the centre of the image.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    focal: float
    size: tuple[int, int]

    @property
    def center(self) -> tuple[float, float]:
        """Principal point (column, row); whole numbers are centres of pixels."""
        height, width = self.size
        return (width - 1) / 2, (height - 1) / 2

    @cached_property
    def axes(self) -> np.ndarray:
        """3x3; rows are the camera's right, down and forward axes in world coordinates."""
        sin_yaw, cos_yaw = np.sin(self.yaw), np.cos(self.yaw)
        sin_pitch, cos_pitch = np.sin(self.pitch), np.cos(self.pitch)
        return np.array(
            [
                [cos_yaw, 0.0, -sin_yaw],
                [-sin_yaw * sin_pitch, -cos_pitch, -cos_yaw * sin_pitch],
                [sin_yaw * cos_pitch, -sin_pitch, cos_yaw * cos_pitch],
            ]
        )

    @cached_property
    def matrix(self) -> np.ndarray:
        """3x3 intrinsic matrix."""
        column, row = self.center
        return np.array([[self.focal, 0.0, column], [0.0, self.focal, row], [0.0, 0.0, 1.0]])

    @property
    def horizon(self) -> float:
        """Row of the horizon."""
        return self.center[1] - self.focal * float(np.tan(self.pitch))

    def to_camera(self, points: ArrayLike) -> np.ndarray:
        """World points (..., 3) as (right, down, forward) in metres."""
        return (np.asarray(points, dtype=np.float64) - self.position) @ self.axes.T

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3), all in front of the camera, as pixels (..., 2) (column, row) and depths (...)."""
        local = self.to_camera(points)
        depth = local[..., 2]
        return local[..., :2] * (self.focal / depth[..., None]) + self.center, depth

    def ground(self, rows: np.ndarray, height: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x and z, each float32 (len(rows), width), where the rays through `rows` meet the plane y = height.

        The third result, (len(rows), 1), is the depth along the ray's forward axis. Rows must lie below the horizon.
        """
        column, row = self.center
        slope = ((rows - row) / self.focal)[:, None]
        depth = (self.position[1] - height) / (np.sin(self.pitch) + slope * np.cos(self.pitch))
        ahead = (depth * (np.cos(self.pitch) - slope * np.sin(self.pitch))).astype(np.float32)
        depth = depth.astype(np.float32)
        sin, cos = np.float32(np.sin(self.yaw)), np.float32(np.cos(self.yaw))
        aside = depth * ((np.arange(self.size[1]) - column) / self.focal).astype(np.float32)[None, :]
        x = aside * cos + (np.float32(self.position[0]) + ahead * sin)
        z = aside * -sin + (np.float32(self.position[2]) + ahead * cos)
        return x, z, depth
