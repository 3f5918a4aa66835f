"""Run every frame of a bag through the Segmenter, offline, and compare with the bag's labels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lsabinet_core.errors import BagError, DatasetError, FrameError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import summarise_timings
from lsabinet_core.evaluation.report import Report
from lsabinet_core.inference import Segmentation, Segmenter
from lsabinet_ros.bag.reader import IMAGE, Bag, Message
from lsabinet_ros.bag.topics import find_image_topic, find_label_topic
from lsabinet_ros.conversions import compressed_to_array, image_to_array

LABEL_ENCODINGS = ("mono8", "8UC1")


@dataclass(frozen=True)
class EvaluatedFrame:
    """A frame that went through the Segmenter; ``stamp_ns`` is its header's."""

    stamp_ns: int
    frame: np.ndarray
    segmentation: Segmentation


def evaluate_bag(
    segmenter: Segmenter,
    bag: Bag,
    *,
    image_topic: str | None = None,
    label_topic: str | None = None,
    limit: int | None = None,
    on_frame: Callable[[EvaluatedFrame], None] | None = None,
    on_skip: Callable[[str], None] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Segment the images of one topic one by one; compare those that have a label with the same header stamp.

    Args:
        segmenter: what the vehicle would run.
        bag: open bag.
        image_topic: None takes the only one there is.
        label_topic: sensor_msgs/Image, mono8, class ids, 255 = void; None takes the one called ``labels``, if any.
        limit: only the first so many frames.
        on_frame: called with each frame and its segmentation.
        on_skip: called with one line for each message that could not be used.
        progress: called with (frames done, frames in all or None).

    Returns:
        Report whose details have ``bag, image_topic, label_topic, frames, labelled_frames, skipped, truncated``
        (a bool) and ``lost`` (None or what was lost of the bag). mIoU is None without labels.

    Raises:
        BagError: topics that cannot be chosen, labels that fit no frame, or no frame that can be segmented.
    """
    images = find_image_topic(bag, image_topic)
    labels = find_label_topic(bag, label_topic)
    if images == labels:
        raise BagError(f"{images} cannot be the topic of both the images and the labels")
    run = _Run(segmenter, bag, images, labels, on_skip or (lambda line: None))
    if labels:
        run.match_stamps()
    total = bag.topics[images].count if limit is None else min(limit, bag.topics[images].count)
    for message in bag.messages([images, labels] if labels else [images]):
        if message.topic == labels:
            run.take_label(message)
        elif limit is None or run.seen < limit:
            evaluated = run.take_frame(message)
            if evaluated is not None and on_frame is not None:
                on_frame(evaluated)
            if progress is not None:
                progress(run.seen, total)
        if run.seen == limit and not run.masks:
            break
    if not run.timings:
        raise BagError(f"no frame on {images} in {bag.path} could be segmented ({run.skipped} were unusable)")
    return run.report()


class _Run:
    """State of one evaluation: masks wait here for their labels and labels for their masks."""

    def __init__(self, segmenter: Segmenter, bag: Bag, images: str, labels: str | None, on_skip: Callable):
        self.segmenter, self.bag, self.images, self.labels = segmenter, bag, images, labels
        self.on_skip = on_skip
        self.confusion = ConfusionMatrix(len(segmenter.label_set))
        self.timings = []
        self.seen = self.labelled = self.skipped = 0
        self.sizes: set[tuple[int, int]] = set()
        self.masks: dict[int, np.ndarray] = {}
        self.waiting_labels: dict[int, np.ndarray] = {}
        self._matched: set[int] = set()
        self._warm_sizes: set[tuple[int, int]] = set()

    def match_stamps(self) -> None:
        """Read the header stamps of frames and labels, so that only masks and labels that will meet are kept."""
        stamps: dict[str, set[int]] = {self.images: set(), self.labels: set()}
        for message in self.bag.messages(list(stamps)):
            try:
                stamp_ns = header_stamp_ns(self.bag.deserialize(message))
            except BagError:
                continue  # counted when it is taken
            if message.topic == self.labels and stamp_ns in stamps[self.labels]:
                raise BagError(
                    f"two labels on {self.labels} have the header stamp {stamp_ns} ns: labels and frames are matched "
                    "by it, so it must be unique"
                )
            stamps[message.topic].add(stamp_ns)
        self._matched = stamps[self.images] & stamps[self.labels]
        if stamps[self.labels] and not self._matched:
            raise BagError(
                f"no label on {self.labels} has the header stamp of a frame on {self.images} in {self.bag.path}"
            )

    def take_label(self, message: Message) -> None:
        try:
            content = self.bag.deserialize(message)
            label = label_array(content, message.type)
        except (BagError, FrameError) as error:
            self._skip(message, error)
            return
        stamp_ns = header_stamp_ns(content)
        if stamp_ns in self.masks:
            self._compare(self.masks.pop(stamp_ns), label, message)
        elif stamp_ns in self._matched:
            self.waiting_labels[stamp_ns] = label

    def take_frame(self, message: Message) -> EvaluatedFrame | None:
        self.seen += 1
        try:
            content = self.bag.deserialize(message)
            frame = (image_to_array if message.type == IMAGE else compressed_to_array)(content)
            size = frame.shape[:2]
            if size not in self._warm_sizes:
                # The first frames of a size are slow (allocation, kernel choice); they would show in p99.
                self.segmenter.warm_up(size)
                self._warm_sizes.add(size)
            segmentation = self.segmenter.segment(frame, confidence=False)
        except (BagError, FrameError) as error:
            self._skip(message, error)
            return None
        stamp_ns = header_stamp_ns(content)
        self.timings.append(segmentation.timings)
        self.sizes.add(size)
        if stamp_ns in self.waiting_labels:
            self._compare(segmentation.mask, self.waiting_labels.pop(stamp_ns), message)
        elif stamp_ns in self._matched:
            self.masks[stamp_ns] = segmentation.mask
        return EvaluatedFrame(stamp_ns, frame, segmentation)

    def _compare(self, mask: np.ndarray, label: np.ndarray, message: Message) -> None:
        try:
            self.confusion.update(mask, label)
        except DatasetError as error:
            raise BagError(f"label at {message.stamp_ns} ns on {self.labels}: {error}") from None
        self.labelled += 1

    def _skip(self, message: Message, error: Exception) -> None:
        self.skipped += 1
        self.on_skip(f"{message.topic} at {message.stamp_ns} ns skipped: {error}")

    def report(self) -> Report:
        details = {
            "bag": str(self.bag.path),
            "image_topic": self.images,
            "label_topic": self.labels,
            "frames": len(self.timings),
            "labelled_frames": self.labelled,
            "skipped": self.skipped,
            "truncated": self.bag.truncated is not None,
            "lost": self.bag.truncated,
            "image_sizes": [list(size) for size in sorted(self.sizes)],
            "network_sizes": [
                list(size) for size in sorted({self.segmenter.network_size(size) for size in self.sizes})
            ],
            **self.segmenter.describe(),
        }
        latency = summarise_timings(self.timings)
        return Report(self.segmenter.label_set, self.confusion, self.labelled, latency, details)


def header_stamp_ns(message) -> int:
    """``header.stamp`` in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def label_array(message, type_name: str) -> np.ndarray:
    """Class ids, uint8 (H, W), of a label message.

    Raises:
        FrameError: not one 8-bit channel, or lossy compression, which changes ids.
    """
    if type_name == IMAGE:
        if message.encoding not in LABEL_ENCODINGS:
            raise FrameError(f"expected labels of encoding {' or '.join(LABEL_ENCODINGS)}, got {message.encoding!r}")
        return image_to_array(message)[:, :, 0]
    if "png" not in message.format:
        raise FrameError(f"expected labels compressed as png, got {message.format!r}")
    bgr = compressed_to_array(message)
    if (bgr != bgr[:, :, :1]).any():
        raise FrameError("expected a label with a single channel of class ids, got colours")
    return bgr[:, :, 0]
