"""The part of a camera's frames that is segmented: a region of interest, without the vehicle's own body."""

from pathlib import Path

import cv2
import numpy as np

from lsabinet_core.errors import FrameError, LsabinetError
from lsabinet_core.images import read_image

MIN_SIDE = 32
"""Minimum width and height of what is segmented; a smaller image is a mistake of the camera driver."""


class View:
    """Cuts the region of interest out of frames, and puts its results back in place.

    Args:
        region: the parameter ``region_of_interest``: ``X,Y,WIDTH,HEIGHT`` in pixels, with X and Y of the upper left
            corner; empty for the whole frame.
        body_mask: the parameter ``body_mask``: path of an image of the frames' size, white where the vehicle's body is
            seen; empty if it is not.
        prefix: prefix of the parameters' names, for messages: ``NAME.`` of one of several cameras.

    Raises:
        LsabinetError: a parameter is invalid, or the image cannot be used; names the parameter.
    """

    def __init__(self, region: str = "", body_mask: str = "", prefix: str = ""):
        self._region = parse_region(region, f"{prefix}region_of_interest") if region.strip() else None
        self._body = _read(body_mask, f"{prefix}body_mask") if body_mask.strip() else None
        self._seen: np.ndarray | None = None
        if self._body is not None:
            try:
                seen = self.crop(np.where(self._body, np.uint8(0), np.uint8(255)))
            except FrameError as error:
                raise LsabinetError(f"{prefix}body_mask: {error}") from None
            if not seen.any():
                raise LsabinetError(f"{prefix}body_mask: expected pixels that are not white, got none in {body_mask}")
            self._seen = seen

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """The part of a frame, (H, W) or (H, W, 3), that is segmented; contiguous.

        Raises:
            FrameError: the frame is too small, does not contain the region, or differs in size from the body mask.
        """
        height, width = frame.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise FrameError(f"expected an image of at least {MIN_SIDE}x{MIN_SIDE} pixels, got {width}x{height}")
        if self._body is not None and self._body.shape != (height, width):
            raise FrameError(
                f"expected an image of the size of the body mask, {self._body.shape[1]}x{self._body.shape[0]}, got "
                f"{width}x{height}"
            )
        if self._region is None:
            return frame
        x, y, region_width, region_height = self._region
        if x + region_width > width or y + region_height > height:
            raise FrameError(
                "expected an image that contains the region of interest "
                f"{x},{y},{region_width},{region_height}, got {width}x{height}"
            )
        return np.ascontiguousarray(frame[y : y + region_height, x : x + region_width])

    def restore(self, values: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
        """Values for the whole frame, uint8 (H, W), with ``fill`` where nothing was segmented and on the body.

        Args:
            values: uint8 (H, W), for what ``crop`` returned; returned as they are if that was the whole frame.
            size: (H, W) of the frame.
            fill: 0 to 255.
        """
        if self._region is None and self._body is None:
            return values
        whole = np.full(size, fill, np.uint8)
        x, y, width, height = self._region or (0, 0, size[1], size[0])
        inside = whole[y : y + height, x : x + width]
        if self._seen is None:
            inside[:] = values
        else:
            cv2.copyTo(values, self._seen, inside)
        return whole

    def mean(self, values: np.ndarray) -> float:
        """Mean of the values, uint8 (H, W), for what ``crop`` returned, except on the body."""
        return cv2.mean(values, self._seen)[0]


def parse_region(text: str, parameter: str) -> tuple[int, int, int, int]:
    """X, Y, width and height in a value of ``region_of_interest``; ``parameter`` is its name, for messages.

    Raises:
        LsabinetError: the text is not of the form ``X,Y,WIDTH,HEIGHT``, or the region is too small.
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 6]
    if len(parts) != 4 or len(numbers) != 4 or min(numbers[2:]) < MIN_SIDE:
        raise LsabinetError(
            f"{parameter}: expected X,Y,WIDTH,HEIGHT in pixels, at least {MIN_SIDE}x{MIN_SIDE}, got {text!r}"
        )
    x, y, width, height = numbers
    return x, y, width, height


def _read(path: str, parameter: str) -> np.ndarray:
    """Where the image is white, bool (H, W)."""
    try:
        image = read_image(Path(path).expanduser())
    except FrameError as error:
        raise LsabinetError(f"{parameter}: {error}") from None
    # Not any value above 0, because JPEG has such values around edges.
    body = image.min(axis=2) > 127
    if not body.any():
        raise LsabinetError(f"{parameter}: expected white pixels where the vehicle is seen, got none in {path}")
    return body
