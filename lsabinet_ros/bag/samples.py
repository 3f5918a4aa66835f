"""The frames of one image topic of a bag as samples for the evaluation, in the order of the bag."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from lsabinet_core.data import Sample
from lsabinet_core.errors import BagError, FrameError
from lsabinet_core.labels import VOID, LabelSet
from lsabinet_ros.bag.labels import MAX_NAMED, LabelMatch, Labels, match_stamps, stamps_on
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.storage import IMAGE, Message
from lsabinet_ros.conversions import compressed_to_array, image_to_array
from lsabinet_ros.latency import header_stamp_ns


@dataclass(frozen=True)
class BagSample(Sample):
    """A frame of a bag with its label, if it has one.

    Attributes:
        source: where it comes from.
        stamp_ns: the header's stamp.
        bag_time_ns: when it was recorded.
        label_offset_ns: the label's stamp minus the frame's; None without a label.
        frame_id: the header's frame_id.
    """

    source: "FrameSource"
    stamp_ns: int
    bag_time_ns: int
    label_offset_ns: int | None
    frame_id: str = ""


@dataclass
class FrameSource:
    """One image topic of a bag, with its labels. Iterating gives a ``BagSample`` for each frame that can be decoded.

    A message that cannot be used is counted and reported, and does not end the iteration.

    Attributes:
        bag: open bag.
        topic: the image topic.
        labels: where the labels come from; None without labels.
        label_set: the classes that a label may contain; None does not check its ids.
        slop_ns: maximum distance between the stamps of a frame and its label.
        limit: maximum number of frames; None for all.
        on_skip: called with one line for each message that cannot be used.
        seen: number of frames so far, including the ``skipped`` ones, which could not be decoded.
        labels_used: number of labels so far that belong to a frame.
        labels_skipped: number of labels so far that could not be used.
        first_label_problem: why the first skipped label could not be used.
    """

    bag: Bag
    topic: str
    labels: Labels | None
    label_set: LabelSet | None
    slop_ns: int = 0
    limit: int | None = None
    on_skip: Callable[[str], None] = lambda line: None
    seen: int = 0
    skipped: int = 0
    labels_used: int = 0
    labels_skipped: int = 0
    first_label_problem: str = ""
    match: LabelMatch = field(default_factory=LabelMatch)
    _frame_stamps: list[int] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of frames according to the bag's index."""
        count = self.bag.topics[self.topic].count
        return count if self.limit is None else min(self.limit, count)

    def match_labels(self) -> None:
        """Read the stamps of all frames and labels, and find out which belong together.

        Raises:
            BagError: there are labels, and none of them belongs to a frame.
        """
        if self.labels is None:
            return
        self._frame_stamps = stamps_on(self.bag, self.topic)
        self.match = match_stamps(self._frame_stamps, self.labels.stamps(), self.slop_ns)
        if self.match.total and not self.match.label_of:
            raise BagError(
                f"no label on {self.labels.source} has the header stamp of a frame on {self.topic} in {self.bag.path}"
                + self.slop_hint()
            )

    def slop_hint(self) -> str:
        """Distance of the labels without a frame to the nearest frames, for messages; empty if there are none."""
        distances = [distance for distance in self.match.nearest_ns if distance is not None]
        if not distances:
            return ""
        return (
            f": the nearest frame is {min(distances) / 1e6:g} ms away; --slop SECONDS allows a distance"
            if len(distances) == 1
            else f": the nearest frames are {min(distances) / 1e6:g} to {max(distances) / 1e6:g} ms away; "
            "--slop SECONDS allows a distance"
        )

    def __iter__(self) -> Iterator[BagSample]:
        label_of = dict(self.match.label_of)
        fetched = iter(())
        if self.labels is not None:
            wanted = dict.fromkeys(label_of[stamp] for stamp in self._frame_stamps if stamp in label_of)
            fetched = iter(self.labels.fetch(wanted))
        for message in self.bag.messages([self.topic]):
            if self.seen == self.limit:
                return
            self.seen += 1
            try:
                content = self.bag.deserialize(message)
            except BagError as error:
                self._skip_frame(message, error)
                continue
            stamp_ns = header_stamp_ns(content.header)
            # Each label goes to the first frame with its stamp.
            label_stamp = label_of.pop(stamp_ns, None)
            found = None if label_stamp is None else next(fetched)
            try:
                image = (image_to_array if message.type == IMAGE else compressed_to_array)(content)
            except FrameError as error:
                self._skip_frame(message, error)
                continue
            label = self._checked_label(found, label_stamp, image)
            offset_ns = None if label is None or label_stamp is None else label_stamp - stamp_ns
            name, frame_id = f"{self.topic} {stamp_ns}", content.header.frame_id
            yield BagSample(image, label, name, self, stamp_ns, message.stamp_ns, offset_ns, frame_id)

    def _checked_label(
        self, label: np.ndarray | str | None, stamp_ns: int | None, image: np.ndarray
    ) -> np.ndarray | None:
        if label is None or self.labels is None:
            return None
        if isinstance(label, str):
            problem = label
        elif (problem := self._problem_of(label, image)) is None:
            self.labels_used += 1
            return label
        self.labels_skipped += 1
        self.first_label_problem = self.first_label_problem or problem
        self.on_skip(f"{self.labels.source}: the label at {stamp_ns} ns is skipped: {problem}")
        return None

    def _problem_of(self, label: np.ndarray, image: np.ndarray) -> str | None:
        if label.shape != image.shape[:2]:
            return f"expected the frame's size {image.shape[0]}x{image.shape[1]}, got {label.shape[0]}x{label.shape[1]}"
        known = label[label != VOID]
        if self.label_set is not None and known.size and known.max() >= len(self.label_set):
            return f"expected class ids 0..{len(self.label_set) - 1} or {VOID} (unlabelled), got {known.max()}"
        return None

    def _skip_frame(self, message: Message, error: Exception) -> None:
        self.skipped += 1
        self.on_skip(f"{message.topic} at {message.stamp_ns} ns is skipped: {error}")

    def summary(self) -> dict:
        """What became of frames and labels, as JSON values."""
        return {
            "bag": str(self.bag.path),
            "image_topic": self.topic,
            "label_source": None if self.labels is None else self.labels.source,
            "frames": self.seen - self.skipped,
            "skipped_frames": self.skipped,
            "labels": {
                "total": self.match.total,
                "used": self.labels_used,
                "skipped": self.labels_skipped,
                "duplicates": self.match.duplicates,
                "without_frame": len(self.match.unpartnered),
                "without_frame_ns": self.match.unpartnered[:MAX_NAMED],
                "largest_offset_ns": self.match.largest_offset_ns,
            },
        }
