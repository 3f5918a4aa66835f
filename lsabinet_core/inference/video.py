"""Video files read by PyAV (the extra ``video``), with the container's exact time stamps and all codecs of FFmpeg."""

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from lsabinet_core.errors import FrameError
from lsabinet_core.images import name_for_opencv

_log = logging.getLogger(__name__)

END_TOLERANCE_FRAMES = 2
"""How many frames earlier than the container's duration a video may end; sound often ends a little later."""


class AvVideoSource:
    """A video file, read frame by frame and rotated upright.

    Iterating yields ``(name, frame)``: ``<file stem>_<six-digit frame number>`` and BGR uint8 (H, W, 3). Damaged frames
    are skipped, and a warning at the end reports them.

    Args:
        path: a file that can be read.

    Attributes:
        count: number of frames that the container declares; None if it declares none.
        fps: mean frames per second; None if the container does not declare them.
        time_s: exact time of the latest frame since the first one; None before the first frame.
        lost: description of what could not be decoded, or None; set when the iteration ends.

    Raises:
        FrameError: not a video.
    """

    kind = "video"

    def __init__(self, path: Path):
        self._path = path
        try:
            self._container = av.open(name_for_opencv(path))
        except (av.error.FFmpegError, OSError, ValueError):
            raise FrameError(f"{path} is not a video (or image) that can be read") from None
        if not self._container.streams.video:
            self._container.close()
            raise FrameError(f"{path} is not a video: it has no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.count = self._stream.frames or None
        self.fps = float(rate) if rate else None
        self.time_s: Fraction | None = None
        self.lost: str | None = None
        self.unreadable: dict[Path, str] = {}
        self._damaged = 0

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        index = 0
        first: Fraction | None = None
        for frame in self._frames():
            stamp = Fraction(index) / Fraction(self.fps or 25)
            if frame.pts is not None and frame.time_base is not None:
                stamp = frame.pts * Fraction(frame.time_base)
            first = stamp if first is None else first
            # Time stamps may decrease in some containers; keep the times in order.
            self.time_s = max(stamp - first, self.time_s or Fraction(0))
            yield f"{self._path.stem}_{index:06d}", _upright(frame)
            index += 1
        if index == 0:
            raise FrameError(f"{self._path} holds no frame that can be decoded")
        self.lost = self._describe_loss(index)
        if self.lost is not None:
            _log.warning(self.lost)

    def _frames(self) -> Iterator[av.VideoFrame]:
        """The frames that can be decoded."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self._damaged += 1
                return
            try:
                for frame in packet.decode():
                    if frame.is_corrupt:
                        self._damaged += 1
                    else:
                        yield frame
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._damaged += 1

    def _describe_loss(self, decoded: int) -> str | None:
        damaged = f"{self._damaged} are damaged" if self._damaged else "it is truncated"
        if self.count is not None:
            if decoded >= self.count and not self._damaged:
                return None
            return f"{self._path} declares {self.count} frames, but only {decoded} could be decoded: {damaged}"
        if self._damaged:
            return f"{decoded} frames of {self._path} could be decoded; {damaged}"
        declared_s = (self._container.duration or 0) / av.time_base
        found_s = float(self.time_s or 0)
        if found_s + (1 + END_TOLERANCE_FRAMES) / (self.fps or 25) < declared_s:
            return f"{self._path} declares {declared_s:.2f} s and ends after {found_s:.2f} s: it is truncated"
        return None

    def close(self) -> None:
        self._container.close()


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """The frame as BGR, rotated according to the orientation stored in the container."""
    pixels = frame.to_ndarray(format="bgr24")
    quarters = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
