"""The camera frames of a bag as a source of frames for the core's verbs: `lsabinet export --frames drive.mcap`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lsabinet_core.errors import BagError, FrameError
from lsabinet_ros.bag.reader import open_bag
from lsabinet_ros.bag.storage import IMAGE
from lsabinet_ros.bag.topics import is_label_topic
from lsabinet_ros.conversions import compressed_to_array, image_to_array


class BagSource:
    """The images of all topics except labels, by bag time.

    Iterating gives ``(name, frame)``: ``<bag>_<six-digit message number>`` and BGR uint8 (H, W, 3). A message that
    the node would reject is left out and listed in ``unreadable``.

    Attributes:
        count: number of messages.
        fps: None, because topics may have different rates.
        unreadable: messages left out so far, by topic and time, each with the reason.

    Raises:
        BagError: no such bag, or no image topic in it.
    """

    kind = "bag"
    fps = None

    def __init__(self, path: Path):
        self._bag = open_bag(path)
        found = self._bag.topics.values()
        self._topics = [topic.name for topic in found if topic.is_image and not is_label_topic(topic.name)]
        if not self._topics:
            self._bag.close()
            raise BagError(f"no image topic in {path}: {self._bag.topic_list()}")
        self.count = sum(self._bag.topics[name].count for name in self._topics)
        self.unreadable: dict[Path, str] = {}

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        for number, message in enumerate(self._bag.messages(self._topics)):
            try:
                content = self._bag.deserialize(message)
                frame = (image_to_array if message.type == IMAGE else compressed_to_array)(content)
            except (BagError, FrameError) as error:
                where = f"{message.topic} at {message.stamp_ns} ns"
                self.unreadable[self._bag.path / where] = f"{where}: {error}"
            else:
                yield f"{self._bag.path.stem}_{number:06d}", frame

    def close(self) -> None:
        self._bag.close()
