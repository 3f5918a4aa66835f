"""Describe the content of a bag: topics, rates, gaps and image sizes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import Bag
from lsabinet_ros.bag.storage import IMAGE, ROS_ENCODINGS, Topic

MAX_DESCRIBED = 200
"""Maximum number of topics in the text for the terminal."""
GAP_FACTOR = 2.5
"""An interval of more than this many median intervals is a gap, in which at least one message is missing."""


def describe(bag: Bag, progress: Callable[[int], None] | None = None) -> dict:
    """Read the whole bag and describe it.

    Args:
        progress: called with the number of messages read so far.

    Returns:
        JSON values ``path, format, start_ns, end_ns, duration_s, messages, lost`` (descriptions of what cannot be read)
        and ``topics``, a list of ``{name, type, encoding, count, corrupt, rate_hz, interval_ms {p50, max}, gaps,
        longest_gap_s, images}``. ``rate_hz`` is the mean from the topic's first to its last message, None for fewer
        than two messages. ``images`` is a list of ``{height, width, encoding, count}`` for image topics, None for
        others.
    """
    stamps: dict[str, list[int]] = {name: [] for name in bag.topics}
    images: dict[str, Counter] = {name: Counter() for name in bag.topics}
    corrupt: Counter = Counter()
    for count, message in enumerate(bag.messages(), start=1):
        stamps[message.topic].append(message.stamp_ns)
        if bag.topics[message.topic].is_image:
            try:
                images[message.topic][_image_kind(bag.deserialize(message), message.type)] += 1
            except BagError:
                corrupt[message.topic] += 1
        if progress is not None:
            progress(count)
    return {
        "path": str(bag.path),
        "format": bag.format,
        "start_ns": bag.start_ns,
        "end_ns": bag.end_ns,
        "duration_s": bag.duration_s,
        "messages": sum(map(len, stamps.values())),
        "lost": bag.losses,
        "topics": [
            _describe_topic(topic, stamps[name], images[name], corrupt[name]) for name, topic in bag.topics.items()
        ],
    }


def as_text(description: dict) -> str:
    """The result of ``describe`` as text for the terminal; up to ``MAX_DESCRIBED`` topics, those with images first."""
    lines = [
        f"{description['path']}  ({description['format']}, {description['messages']} messages, "
        f"{description['duration_s']:.3f} s)"
    ]
    lines += [f"  lost: {loss}" for loss in description["lost"]]
    topics = description["topics"]
    if len(topics) > MAX_DESCRIBED:
        topics = sorted(topics, key=lambda topic: topic["images"] is None)[:MAX_DESCRIBED]
    for topic in topics:
        lines += ["", f"{topic['name']}  {topic['type']}"]
        rate = "" if topic["rate_hz"] is None else f", {topic['rate_hz']:.3f} Hz"
        unread = (
            ""
            if topic["encoding"] in ROS_ENCODINGS
            else f", not read because they are in {topic['encoding'] or 'no encoding'}"
        )
        lines.append(f"  {topic['count']} messages{rate}{unread}")
        if topic["corrupt"]:
            lines.append(f"  {topic['corrupt']} corrupt")
        for kind in topic["images"] or []:
            lines.append(f"  {kind['height']}x{kind['width']} {kind['encoding']}: {kind['count']}")
        if topic["gaps"]:
            lines.append(f"  {topic['gaps']} gaps, the longest {topic['longest_gap_s']:.3f} s")
    if len(topics) < len(description["topics"]):
        lines += ["", f"and {len(description['topics']) - len(topics)} more topics, which --json describes"]
    return "\n".join(lines)


def _describe_topic(topic: Topic, stamps: list[int], images: Counter, corrupt: int) -> dict:
    intervals = np.diff(np.sort(np.asarray(stamps, dtype=np.int64))) / 1e9
    median = float(np.median(intervals)) if intervals.size else 0.0
    gaps = intervals[intervals > GAP_FACTOR * median] if median > 0 else intervals[:0]
    span = float(intervals.sum())
    return {
        "name": topic.name,
        "type": topic.type,
        "encoding": topic.encoding,
        "count": len(stamps) if topic.is_ros else topic.count,
        "corrupt": corrupt,
        "rate_hz": len(intervals) / span if span > 0 else None,
        "interval_ms": {"p50": 1e3 * median, "max": 1e3 * float(intervals.max())} if intervals.size else None,
        "gaps": int(gaps.size),
        "longest_gap_s": float(gaps.max()) if gaps.size else None,
        "images": [
            {"height": height, "width": width, "encoding": encoding, "count": count}
            for (height, width, encoding), count in sorted(images.items())
        ]
        if topic.is_image
        else None,
    }


def _image_kind(message: Any, type_name: str) -> tuple[int, int, str]:
    """(height, width, encoding); a compressed image is decoded for its size, which is (0, 0) if that fails."""
    if type_name == IMAGE:
        return message.height, message.width, message.encoding
    image = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED) if message.data.size else None
    height, width = (0, 0) if image is None else image.shape[:2]
    return height, width, message.format
