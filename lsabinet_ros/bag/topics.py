"""Find the topics of a bag with the camera's images and the labels."""

import re
from collections.abc import Sequence

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.storage import listed

LABEL_NAMES = ("labels", "label")
_COMPRESSED = "/compressed"
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def is_label_topic(name: str) -> bool:
    """Whether the last part of a topic's name, before ``/compressed``, is that of labels."""
    return without_transport(name).rsplit("/", 1)[-1] in LABEL_NAMES


def find_image_topic(bag: Bag, name: str | None = None) -> str:
    """Check ``name``, or find the only image topic that has messages and is not a label topic.

    Raises:
        BagError: ``name`` is not an image topic of the bag; or no name is given and there are none or several.
    """
    if name is not None:
        return _check(bag, name)
    found = _image_topics(bag)
    if len(found) != 1:
        what = "several image topics" if found else "no image topic with messages"
        raise BagError(f"{what} in {bag.path}: {listed(found) or bag.topic_list()}; choose one with --image-topic")
    return found[0]


def find_label_topic(bag: Bag, name: str | None = None, image_topic: str | None = None) -> str | None:
    """Check ``name``, or find the label topic that belongs to ``image_topic``; None if there is none.

    Label topics are called ``labels`` or ``label``. The only one belongs to the only image topic. Otherwise a label
    topic belongs to the images in its own namespace: ``/front/labels`` to ``/front/image_raw`` and
    ``/front/camera/image_raw``.

    Args:
        image_topic: None if the bag has only one image topic.

    Raises:
        BagError: ``name`` is not an image topic of the bag; or no name is given and several fit equally well.
    """
    if name is not None:
        return _check(bag, name)
    found = [
        topic.name for topic in bag.topics.values() if topic.is_image and topic.count and is_label_topic(topic.name)
    ]
    images = _image_topics(bag)
    if image_topic is not None and (len(found) > 1 or len(images) > 1):
        depths = {label: _shared_depth(label, image_topic) for label in found}
        deepest = max(depths.values(), default=-1)
        found = [label for label, depth in depths.items() if depth == deepest >= 0]
    if len(found) > 1:
        raise BagError(f"several label topics in {bag.path}: {listed(found)}; choose one with --label-topic")
    return found[0] if found else None


def check_topic_names(*names: str) -> None:
    """Check names of topics to write by ROS's rules (https://design.ros2.org/articles/topic_and_service_names.html).

    Raises:
        BagError: a name is not absolute, has an invalid part, or occurs twice.
    """
    for name in names:
        root, *parts = name.split("/")
        if root or not parts or not all(_TOKEN.fullmatch(part) for part in parts) or "__" in name:
            raise BagError(
                f"expected an absolute topic name such as /camera/image_raw, whose parts have letters, digits and "
                f"single underscores and do not start with a digit, got {name!r}"
            )
    for name in names:
        if names.count(name) > 1:
            raise BagError(f"expected different topics for images and labels, got {name} for both")


def _image_topics(bag: Bag) -> list[str]:
    return [
        topic.name for topic in bag.topics.values() if topic.is_image and topic.count and not is_label_topic(topic.name)
    ]


def without_transport(name: str) -> str:
    """The name of a topic without ``/compressed``."""
    return name.rstrip("/").removesuffix(_COMPRESSED)


def _parents(name: str) -> Sequence[str]:
    return without_transport(name).split("/")[:-1]


def _shared_depth(label: str, image: str) -> int:
    """Depth of the label's namespace if the image is in it; -1 otherwise."""
    namespace, parents = _parents(label), _parents(image)
    return len(namespace) if parents[: len(namespace)] == namespace else -1


def _check(bag: Bag, name: str) -> str:
    if name not in bag.topics:
        raise BagError(f"no topic {name} in {bag.path}; it has {bag.topic_list()}")
    if not bag.topics[name].is_image:
        raise BagError(f"expected images on {name}, got {bag.topics[name].type} in {bag.topics[name].encoding}")
    return name
