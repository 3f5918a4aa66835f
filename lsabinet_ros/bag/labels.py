"""Labels of the frames of a bag: from a topic, or from a folder of PNGs that are named by their stamps."""

import bisect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lsabinet_core.data.files import read_stored_label
from lsabinet_core.data.label_png import decode_label
from lsabinet_core.errors import BagError, DatasetError, FrameError
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.storage import IMAGE, Message
from lsabinet_ros.conversions import image_to_array
from lsabinet_ros.latency import header_stamp_ns

WIDE_ENCODINGS = {"mono16": "u2", "16UC1": "u2", "32SC1": "i4"}
"""Encodings of more than 8 bits, with the NumPy types of their values."""
LABEL_ENCODINGS = ("mono8", "8UC1", *WIDE_ENCODINGS)
MAX_NAMED = 5
"""Maximum number of unused labels that a report names."""
_SECOND_NS = 1_000_000_000
_NANOSECONDS = re.compile(r"\d{15,19}")
_SECONDS = re.compile(r"(\d{1,10})[._](\d{9})")


class Labels(Protocol):
    """Labels by stamp. ``stamps`` are in nanoseconds; ``source`` names where they come from."""

    source: str

    def stamps(self) -> list[int]: ...

    def fetch(self, wanted: Iterable[int]) -> Iterator[np.ndarray | str]:
        """For each stamp in ``wanted``, the label, uint8 (H, W), or the reason why it cannot be used."""
        ...


class TopicLabels:
    """The labels on a topic of the bag: sensor_msgs/Image with class ids, or CompressedImage with a PNG of them."""

    def __init__(self, bag: Bag, topic: str):
        self._bag, self.source = bag, topic

    def stamps(self) -> list[int]:
        return stamps_on(self._bag, self.source)

    def fetch(self, wanted: Iterable[int]) -> Iterator[np.ndarray | str]:
        # In the usual order, no message waits. Messages that come too early are kept until they are wanted.
        early: dict[int, Message] = {}
        messages = self._stamped()
        for stamp_ns in wanted:
            while stamp_ns not in early:
                found = next(messages, None)
                if found is None:
                    break
                early.setdefault(*found)
            message = early.pop(stamp_ns, None)
            yield "it can no longer be read" if message is None else self._decode(message)

    def _stamped(self) -> Iterator[tuple[int, Message]]:
        for message in self._bag.messages([self.source]):
            try:
                yield header_stamp_ns(self._bag.deserialize(message).header), message
            except BagError:
                continue  # counted by `stamps_on`

    def _decode(self, message: Message) -> np.ndarray | str:
        try:
            return label_array(self._bag.deserialize(message), message.type)
        except (BagError, FrameError) as error:
            return str(error)


class FolderLabels:
    """PNGs of class ids whose names are header stamps: ``1700000000123456789.png`` or ``1700000000.123456789.png``.

    Raises:
        BagError: no such folder, or no PNG in it has a stamp for a name.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise BagError(f"no folder of labels at {folder}")
        self.source = str(folder)
        self._files = {}
        for path in sorted(folder.iterdir()):
            stamp_ns = _stamp_in(path.stem) if path.suffix.lower() == ".png" else None
            if stamp_ns is not None:
                self._files.setdefault(stamp_ns, path)
        if not self._files:
            raise BagError(
                f"no label in {folder}: expected PNGs named by the header stamp of their frame, such as "
                "1700000000123456789.png (nanoseconds) or 1700000000.123456789.png"
            )

    def stamps(self) -> list[int]:
        return list(self._files)

    def fetch(self, wanted: Iterable[int]) -> Iterator[np.ndarray | str]:
        for stamp_ns in wanted:
            try:
                yield read_stored_label(self._files[stamp_ns])
            except DatasetError as error:
                yield str(error)


def _stamp_in(name: str) -> int | None:
    if _NANOSECONDS.fullmatch(name):
        return int(name)
    seconds = _SECONDS.fullmatch(name)
    return int(seconds[1]) * _SECOND_NS + int(seconds[2]) if seconds else None


def stamps_on(bag: Bag, topic: str) -> list[int]:
    """The header stamps of the messages on an image topic, in the order of the bag, without corrupt messages."""
    stamps = []
    for message in bag.messages([topic]):
        try:
            stamps.append(header_stamp_ns(bag.deserialize(message).header))
        except BagError:
            continue
    return stamps


@dataclass
class LabelMatch:
    """Which label belongs to which frame, and which labels belong to none.

    Attributes:
        label_of: stamp of the label by the stamp of its frame.
        total: number of labels.
        duplicates: number of labels with the stamp of an earlier one.
        unpartnered: stamps of the labels that belong to no frame.
        nearest_ns: distance of the unpartnered labels to the nearest frame; None without frames.
        largest_offset_ns: largest distance between a frame and its label.
    """

    label_of: dict[int, int] = field(default_factory=dict)
    total: int = 0
    duplicates: int = 0
    unpartnered: list[int] = field(default_factory=list)
    nearest_ns: list[int | None] = field(default_factory=list)
    largest_offset_ns: int = 0


def match_stamps(frames: Iterable[int], labels: Iterable[int], slop_ns: int = 0) -> LabelMatch:
    """Give each frame at most one label, the closest pairs first.

    Args:
        frames: header stamps of the frames in nanoseconds.
        labels: header stamps of the labels.
        slop_ns: maximum distance within a pair; 0 demands equal stamps.
    """
    frame_stamps, label_list = sorted(set(frames)), list(labels)
    label_stamps = sorted(set(label_list))
    match = LabelMatch(total=len(label_list), duplicates=len(label_list) - len(label_stamps))
    candidates = []
    for label in label_stamps:
        first = bisect.bisect_left(frame_stamps, label - slop_ns)
        last = bisect.bisect_right(frame_stamps, label + slop_ns)
        candidates += [(abs(frame - label), frame, label) for frame in frame_stamps[first:last]]
    taken: set[int] = set()
    for distance, frame, label in sorted(candidates):
        if frame not in match.label_of and label not in taken:
            match.label_of[frame] = label
            taken.add(label)
            match.largest_offset_ns = max(match.largest_offset_ns, distance)
    match.unpartnered = [label for label in label_stamps if label not in taken]
    match.nearest_ns = [_distance(frame_stamps, label) for label in match.unpartnered]
    return match


def _distance(stamps: list[int], stamp_ns: int) -> int | None:
    index = bisect.bisect_left(stamps, stamp_ns)
    return min((abs(near - stamp_ns) for near in stamps[max(index - 1, 0) : index + 1]), default=None)


def label_array(message: Any, type_name: str) -> np.ndarray:
    """Class ids, uint8 (H, W), of a label message.

    Raises:
        FrameError: an encoding that is not in ``LABEL_ENCODINGS``, an id below 0 or above 255, or a compressed label
            that ``decode_label`` rejects.
    """
    if type_name != IMAGE:
        try:
            return decode_label(message.data)
        except DatasetError as error:
            raise FrameError(f"label of format {message.format!r}: {error}") from None
    if message.encoding not in LABEL_ENCODINGS:
        raise FrameError(f"expected labels of encoding {', '.join(LABEL_ENCODINGS)}, got {message.encoding!r}")
    if message.encoding not in WIDE_ENCODINGS:
        return image_to_array(message)[:, :, 0]
    ids = _wide_values(message)
    if ids.size and (ids.min() < 0 or ids.max() > 255):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise FrameError(f"expected class ids 0..255 in a {message.encoding} label, got {wrong}")
    return ids.astype(np.uint8)


def _wide_values(message: Any) -> np.ndarray:
    dtype = np.dtype(WIDE_ENCODINGS[message.encoding]).newbyteorder(">" if message.is_bigendian else "<")
    height, width, step = message.height, message.width, message.step
    row_bytes = width * dtype.itemsize
    data = memoryview(message.data)
    if not height or not width or step < row_bytes or len(data) < step * (height - 1) + row_bytes:
        raise FrameError(
            f"expected {height} rows of {width} values of {dtype.itemsize} bytes, got {len(data)} bytes with a step of "
            f"{step}"
        )
    return np.ndarray((height, width), dtype, buffer=data, strides=(step, dtype.itemsize))
