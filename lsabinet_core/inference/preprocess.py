"""Conversion of camera frames to input images of the network."""

from collections.abc import Sequence

import cv2
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.models.limits import SMALLEST_INPUT

SIZE_MULTIPLE = 8
"""Default network sizes are multiples of this stride, that of the deepest features."""

ORDERS = ("bgr", "rgb")


def check_frame(frame: np.ndarray) -> None:
    """Raise FrameError unless ``frame`` is a uint8 array of shape (H, W, 3) with at least one pixel."""
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"expected a frame to be a numpy array of uint8 (H, W, 3), got {type(frame).__name__}")
    if frame.ndim == 2:
        raise FrameError(
            f"expected a colour frame (H, W, 3), got a grey one {frame.shape}: "
            "convert it with cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)"
        )
    if frame.ndim == 3 and frame.shape[2] == 4:
        raise FrameError(f"expected a frame with 3 channels, got 4 {frame.shape}: drop alpha with frame[..., :3]")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise FrameError(f"expected a frame of shape (H, W, 3), got {frame.shape}")
    if frame.dtype != np.uint8:
        raise FrameError(f"expected a frame of dtype uint8 (0..255), got {frame.dtype}")
    if frame.size == 0:
        raise FrameError(f"expected a frame with at least one pixel, got {frame.shape}")


def network_size(frame_size: tuple[int, int], trained_size: tuple[int, int]) -> tuple[int, int]:
    """The default (H, W) of the network's input for a frame.

    It has the pixel count of the trained size and the frame's aspect ratio, in multiples of 8: with any camera, objects
    appear at the scale that the network was trained for, and the latency stays the same.

    Raises:
        FrameError: a frame without pixels.
    """
    if min(frame_size) < 1:
        raise FrameError(f"expected a frame of at least 1x1, got {frame_size[0]}x{frame_size[1]}")
    area = trained_size[0] * trained_size[1]
    aspect = frame_size[1] / frame_size[0]
    height, width = (area / aspect) ** 0.5, (area * aspect) ** 0.5
    return _to_multiple(height), _to_multiple(width)


def _to_multiple(side: float) -> int:
    return max(SMALLEST_INPUT, round(side / SIZE_MULTIPLE) * SIZE_MULTIPLE)


def stack_frames(frames: Sequence[np.ndarray], size: tuple[int, int], order: str = "bgr") -> np.ndarray:
    """Resize N frames of any sizes to uint8 (N, H, W, 3), BGR, C-contiguous and writeable.

    A single frame that needs no conversion is not copied, unless it is read-only: engines share memory with their
    input, and not all of them accept read-only arrays.

    Args:
        frames: uint8 (h, w, 3) each, already checked.
        size: (H, W) of the network's input.
        order: ``"bgr"`` or ``"rgb"``.
    """
    if len(frames) == 1 and order == "bgr" and frames[0].shape[:2] == size:
        return np.require(frames[0], requirements=["C", "W"])[None]
    batch = np.empty((len(frames), *size, 3), dtype=np.uint8)
    for frame, target in zip(frames, batch, strict=True):
        if frame.shape[:2] == size:
            np.copyto(target, frame)
        else:
            cv2.resize(frame, (size[1], size[0]), dst=target, interpolation=_interpolation(frame, size))
        if order == "rgb":
            cv2.cvtColor(target, cv2.COLOR_RGB2BGR, dst=target)
    return batch


def _interpolation(frame: np.ndarray, size: tuple[int, int]) -> int:
    return cv2.INTER_AREA if shrinks(frame.shape[:2], size) else cv2.INTER_LINEAR


def shrinks(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Whether both sides shrink, so that pixels are averaged; otherwise they are interpolated bilinearly."""
    return new[0] <= old[0] and new[1] <= old[1]
