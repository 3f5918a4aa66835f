"""Which topic of a bag has the camera's images and which the labels."""

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import Bag

LABEL_NAMES = ("labels", "label")


def is_label_topic(name: str) -> bool:
    """Whether the last part of a topic's name says that its images are labels, not camera frames."""
    return name.rstrip("/").rsplit("/", 1)[-1] in LABEL_NAMES


def find_image_topic(bag: Bag, name: str | None = None) -> str:
    """``name``, checked, or the only image topic that is no label topic.

    Raises:
        BagError: not an image topic of the bag; without a name: none, or several.
    """
    if name is not None:
        return _check(bag, name)
    found = [topic.name for topic in bag.topics.values() if topic.is_image and not is_label_topic(topic.name)]
    if len(found) != 1:
        what = "several image topics" if found else "no image topic"
        listed = ", ".join(found) or bag.topic_list()
        raise BagError(f"{what} in {bag.path}: {listed}; choose one with --image-topic")
    return found[0]


def find_label_topic(bag: Bag, name: str | None = None) -> str | None:
    """``name``, checked, or the only topic called ``labels``; None if there is none.

    Raises:
        BagError: not an image topic of the bag; without a name: several.
    """
    if name is not None:
        return _check(bag, name)
    found = [topic.name for topic in bag.topics.values() if topic.is_image and is_label_topic(topic.name)]
    if len(found) > 1:
        raise BagError(f"several label topics in {bag.path}: {', '.join(found)}; choose one with --label-topic")
    return found[0] if found else None


def _check(bag: Bag, name: str) -> str:
    if name not in bag.topics:
        raise BagError(f"no topic {name} in {bag.path}; it has {bag.topic_list()}")
    if not bag.topics[name].is_image:
        raise BagError(f"expected images on {name}, got {bag.topics[name].type}")
    return name
