"""New header stamps for recorded messages, without deserialising them."""

import struct
import time
from collections.abc import Callable


class Restamper:
    """Gives messages the time of their publication; messages of one recorded stamp get one new stamp.

    So a label still finds its frame, and ``now - header.stamp`` at a consumer is a latency.
    """

    KEPT = 256

    def __init__(self, now_ns: Callable[[], int] = time.time_ns):
        self._now_ns = now_ns
        self._stamps: dict[tuple[int, int], tuple[int, int]] = {}

    def reset(self) -> None:
        """Forget the stamps so far: the bag begins again."""
        self._stamps.clear()

    def restamp(self, cdr: bytes) -> bytes:
        """The same message with another ``header.stamp``; its type must begin with a std_msgs/Header.

        CDR: 4 bytes of encapsulation (byte 1 is 1 for little-endian), then int32 seconds and uint32 nanoseconds.
        """
        layout = struct.Struct("<iI" if cdr[1] & 1 else ">iI")
        recorded = layout.unpack_from(cdr, 4)
        if recorded not in self._stamps:
            if len(self._stamps) >= self.KEPT:
                del self._stamps[next(iter(self._stamps))]
            self._stamps[recorded] = divmod(self._now_ns(), 1_000_000_000)
        return b"".join((cdr[:4], layout.pack(*self._stamps[recorded]), memoryview(cdr)[12:]))
