"""Header stamps of serialised messages, read and replaced without deserialising them.

CDR starts with a 4-byte encapsulation header; its byte 1 is 1 for little-endian data. If the message type starts with a
std_msgs/Header, int32 seconds and uint32 nanoseconds follow.
"""

import struct
import time
from collections.abc import Callable


def _layout(cdr: bytes) -> struct.Struct:
    return struct.Struct("<iI" if cdr[1] & 1 else ">iI")


def read_stamp_ns(cdr: bytes) -> int:
    """The header stamp, in nanoseconds, of a message whose type starts with a std_msgs/Header."""
    seconds, nanoseconds = _layout(cdr).unpack_from(cdr, 4)
    return seconds * 1_000_000_000 + nanoseconds


class Restamper:
    """Replaces the stamps of messages with the time of publication; equal recorded stamps get equal new stamps.

    Labels therefore still match their frames, and ``now - header.stamp`` at a consumer is a latency.
    """

    MAX_STAMPS = 256
    """Number of recorded stamps to remember."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns):
        self._now_ns = now_ns
        self._stamps: dict[tuple[int, int], tuple[int, int]] = {}

    def reset(self) -> None:
        """Forget all stamps, because the bag starts again."""
        self._stamps.clear()

    def restamp(self, cdr: bytes) -> bytes:
        """The same message with a new ``header.stamp``; its type must start with a std_msgs/Header."""
        layout = _layout(cdr)
        recorded = layout.unpack_from(cdr, 4)
        if recorded not in self._stamps:
            if len(self._stamps) >= self.MAX_STAMPS:
                del self._stamps[next(iter(self._stamps))]
            self._stamps[recorded] = divmod(self._now_ns(), 1_000_000_000)
        return b"".join((cdr[:4], layout.pack(*self._stamps[recorded]), memoryview(cdr)[12:]))
