"""Image and label drawn together: every primitive covers the same pixels of both."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from lsabinet_core.data.street.camera import Camera
from lsabinet_core.data.street.light import Color, Light

NEAR_M = 0.3
_SHIFT = 4  # fractional bits of the coordinates given to OpenCV
_SMALLEST_CAP = 13  # radius, in those units, below which the round end of a limb is left out

Point = tuple[float, float, float]
Limb = tuple[Point, Point, float, float, np.ndarray]
"""Start, end, start radius, end radius, BGR colour; points in the body's own right, up and forward axes, metres."""


class Canvas:
    """Painter's canvas: draw from far to near.

    Attributes:
        image: uint8 (H, W, 3) BGR.
        label: uint8 (H, W), class ids; it starts as 255.
    """

    def __init__(self, camera: Camera, light: Light):
        self.camera = camera
        self.light = light
        self.image = np.zeros((*camera.size, 3), np.uint8)
        self.label = np.full(camera.size, 255, np.uint8)

    def pixels(self, width_m: float, point: ArrayLike) -> float:
        """Apparent width, in pixels of a 480 pixel wide image, of something at a world point.

        It is 0 for what is behind the camera, or so far to the side that nothing up to 4 m around the point is seen.
        """
        aside, _, depth = self.camera.to_camera(point).tolist()
        width = self.camera.size[1]
        if depth <= NEAR_M or (abs(aside) - 4) * self.camera.focal > depth * width / 2:
            return 0.0
        return width_m * self.camera.focal / depth * 480 / width

    def sees(self, points: ArrayLike) -> bool:
        """Whether the convex hull of world points (N, 3) may show up in the image."""
        local = _clip(self.camera.to_camera(points))
        if local is None:
            return False
        return self._box(local[:, :2] * (self.camera.focal / local[:, 2:]) + self.camera.center) is not None

    def haze(self, color: Color | np.ndarray, depth: float) -> tuple[float, float, float]:
        """A colour seen through `depth` metres of air."""
        keep = float(np.exp(-depth / self.light.haze_m))
        return tuple(keep * c + (1 - keep) * h for c, h in zip(color, self.light.skyline))

    def polygon(self, points: ArrayLike, color: Color | np.ndarray, class_id: int) -> None:
        """Fill a convex polygon (N, 3) of world points."""
        self._fill(self.camera.to_camera(points), color, class_id)

    def outline(self, points: ArrayLike) -> np.ndarray | None:
        """A convex polygon (N, 3) of world points as fixed-point pixels, 4 fractional bits; None if out of view."""
        local = _clip(self.camera.to_camera(points))
        if local is None:
            return None
        return _fixed(local[:, :2] * (self.camera.focal / local[:, 2:]) + self.camera.center)

    def faces(self, faces: list[np.ndarray], colors: np.ndarray, class_id: int) -> None:
        """Fill convex polygons of one body in the given order.

        Args:
            faces: each (N, 3) world points. colors: BGR (len(faces), 3).
        """
        local = self.camera.to_camera(np.concatenate(faces))
        depth = float(np.clip(local[:, 2], NEAR_M, None).mean())
        keep = float(np.exp(-depth / self.light.haze_m))
        hazed = (keep * colors + (1 - keep) * np.array(self.light.skyline)).tolist()
        points = None
        if local[:, 2].min() > NEAR_M:
            points = _fixed(local[:, :2] * (self.camera.focal / local[:, 2:]) + self.camera.center)
        first = 0
        for face, color in zip(faces, hazed):
            last = first + len(face)
            if points is not None:
                cv2.fillConvexPoly(self.image, points[first:last], color, shift=_SHIFT)
                cv2.fillConvexPoly(self.label, points[first:last], class_id, shift=_SHIFT)
            else:
                outline = _clip(local[first:last])
                if outline is not None:
                    pixels = outline[:, :2] * (self.camera.focal / outline[:, 2:]) + self.camera.center
                    self._fill_pixels(pixels, color, class_id)
            first = last

    def limbs(self, limbs: list[Limb], origin: np.ndarray, axes: np.ndarray, class_id: int) -> None:
        """Fill the outlines of rounded limbs of one body in the given order.

        Args:
            limbs: a ball has start == end.
            origin: world point of the body's origin. axes: 3x3, rows are its axes in world coordinates.
        """
        starts, ends, first, last, colors = (np.array(column, dtype=np.float64) for column in zip(*limbs))
        local = self.camera.to_camera(np.stack([starts, ends]) @ axes + origin)
        if local[..., 2].min() <= NEAR_M:
            return
        scale = self.camera.focal / local[..., 2]
        pixels = local[..., :2] * scale[..., None] + self.camera.center
        radii = np.stack([first, last]) * scale
        keep = np.exp(-local[..., 2].mean(axis=0) / self.light.haze_m)[:, None]
        hazed = (keep * colors + (1 - keep) * np.array(self.light.skyline)).tolist()
        along = pixels[1] - pixels[0]
        length = np.hypot(along[:, 0], along[:, 1])
        across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(length, 1e-6)[:, None]
        wide = across[None] * radii[..., None]
        corners = np.stack([pixels[0] + wide[0], pixels[1] + wide[1], pixels[1] - wide[1], pixels[0] - wide[0]], axis=1)
        corners, centers, sizes = _fixed(corners), _fixed(pixels).tolist(), _fixed(radii).tolist()
        for index, color in enumerate(hazed):
            if length[index] > 1e-3:
                cv2.fillConvexPoly(self.image, corners[index], color, shift=_SHIFT)
                cv2.fillConvexPoly(self.label, corners[index], class_id, shift=_SHIFT)
            for end in (0, 1) if length[index] > 1e-3 else (0,):
                center, size = centers[end][index], sizes[end][index]
                if size >= _SMALLEST_CAP:
                    cv2.circle(self.image, center, size, color, -1, shift=_SHIFT)
                    cv2.circle(self.label, center, size, class_id, -1, shift=_SHIFT)

    def textured(
        self,
        corner: ArrayLike,
        along: ArrayLike,
        up: ArrayLike,
        texture: np.ndarray,
        class_id: int,
        alpha: np.ndarray | None = None,
    ) -> None:
        """Fill a parallelogram with a texture.

        Args:
            corner: world point of the texture's lower left corner.
            along, up: world vectors of the two sides.
            texture: BGR uint8, row 0 at the top.
            alpha: opacity uint8 of the texture's pixels; the whole parallelogram gets the label all the same, as
                fences are labelled.
        """
        corner, along, up = (np.asarray(v, dtype=np.float64) for v in (corner, along, up))
        local = self.camera.to_camera([corner, corner + along, corner + along + up, corner + up])
        outline = _clip(local)
        if outline is None:
            return
        outline = outline[:, :2] * (self.camera.focal / outline[:, 2:]) + self.camera.center
        box = self._box(outline)
        if box is None:
            return
        top, bottom, left, right = box
        height, width = texture.shape[:2]
        # Pixel of texture coordinate (a, b, 1): intrinsics x [along / width, -up / height, upper left corner].
        basis = np.stack([(local[1] - local[0]) / width, (local[0] - local[3]) / height, local[3]], axis=1)
        to_pixel = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1.0]]) @ self.camera.matrix @ basis
        if abs(np.linalg.det(to_pixel)) < 1e-9:
            return
        to_texture = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]]) @ np.linalg.inv(to_pixel)
        size = (right - left, bottom - top)
        warp: dict[str, Any] = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
        warped = cv2.warpPerspective(texture, to_texture, size, **warp)
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(mask, _fixed(outline - (left, top)), 255, shift=_SHIFT)
        image = self.image[top:bottom, left:right]
        self._hazed(warped, float(np.clip(local[:, 2], NEAR_M, None).mean()))
        if alpha is not None:
            opacity = cv2.warpPerspective(alpha, to_texture, size, **warp).astype(np.float32)[..., None] / 255
            warped = (warped * opacity + image * (1 - opacity)).astype(np.uint8)
        cv2.copyTo(warped, mask, image)
        self.label[top:bottom, left:right][mask > 0] = class_id

    def sprite(
        self, center: ArrayLike, width: float, height: float, texture: np.ndarray, mask: np.ndarray, class_id: int
    ) -> None:
        """Draw a flat cut-out that always faces the camera; its middle is at a world point, its size in metres."""
        local = self.camera.to_camera(center)
        if local[2] <= 1.0:
            return
        scale = self.camera.focal / local[2]
        middle = local[:2] * scale + self.camera.center
        half = np.array([width, height]) * scale / 2
        box = self._box(np.array([middle - half, middle + half]))
        if box is None:
            return
        top, bottom, left, right = box
        step = np.array(texture.shape[1::-1]) / (2 * half)
        offset = (np.array([left, top]) - (middle - half)) * step - 0.5 + 0.5 * step
        matrix = np.array([[step[0], 0, offset[0]], [0, step[1], offset[1]]])
        size = (right - left, bottom - top)
        # Smoothing before a strong reduction keeps the leaves from flickering as the camera moves.
        if step[0] > 2:
            texture, mask = (cv2.blur(a, (int(step[0]),) * 2) for a in (texture, mask))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(texture, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.warpAffine(mask, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
        inside = np.where(inside > 127, np.uint8(255), np.uint8(0))
        self._hazed(warped, float(local[2]))
        cv2.copyTo(warped, inside, self.image[top:bottom, left:right])
        self.label[top:bottom, left:right][inside > 0] = class_id

    def _hazed(self, pixels: np.ndarray, depth: float) -> None:
        keep = float(np.exp(-depth / self.light.haze_m))
        if keep < 0.98:
            added = tuple((1 - keep) * h for h in self.light.skyline)
            cv2.convertScaleAbs(pixels, pixels, keep)
            # A tuple is a colour, which OpenCV's annotations leave out.
            cv2.add(pixels, (*added, 0.0), pixels)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def _box(self, outline: np.ndarray) -> tuple[int, int, int, int] | None:
        height, width = self.camera.size
        left, top = np.clip(np.floor(outline.min(axis=0)) - 1, 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(outline.max(axis=0)) + 2, 0, (width, height)).astype(int)
        return (top, bottom, left, right) if bottom > top and right > left else None

    def _fill(self, local: np.ndarray, color: Color | np.ndarray, class_id: int) -> None:
        outline = _clip(local)
        if outline is not None:
            pixels = outline[:, :2] * (self.camera.focal / outline[:, 2:]) + self.camera.center
            self._fill_pixels(pixels, self.haze(color, float(outline[:, 2].mean())), class_id)

    def _fill_pixels(self, pixels: np.ndarray, color: Sequence[float], class_id: int) -> None:
        points = _fixed(pixels)
        cv2.fillConvexPoly(self.image, points, color, shift=_SHIFT)
        cv2.fillConvexPoly(self.label, points, class_id, shift=_SHIFT)


def _fixed(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def _clip(points: np.ndarray) -> np.ndarray | None:
    """The part of a convex polygon in camera coordinates that lies beyond the near plane."""
    inside = points[:, 2] > NEAR_M
    if inside.all():
        return points
    if not inside.any():
        return None
    kept = []
    for i in range(len(points)):
        j = (i + 1) % len(points)
        if inside[i]:
            kept.append(points[i])
        if inside[i] != inside[j]:
            share = (NEAR_M - points[i, 2]) / (points[j, 2] - points[i, 2])
            kept.append(points[i] + share * (points[j] - points[i]))
    return np.array(kept)
