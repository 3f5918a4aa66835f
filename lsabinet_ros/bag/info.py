"""What a bag holds: topics, rates, gaps, image sizes."""

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.reader import IMAGE, Bag, Topic

GAP_FACTOR = 2.5
"""An interval this many times the median one counts as a gap: at least one message is missing."""


def describe(bag: Bag, progress: Callable[[int], None] | None = None) -> dict:
    """Read the whole bag and count.

    Args:
        progress: called with the messages read so far.

    Returns:
        JSON-ready: ``path, format, start_ns, end_ns, duration_s, messages, truncated`` (None or what was lost) and
        ``topics``, a list of ``{name, type, count, corrupt, rate_hz, interval_ms {p50, max}, gaps, longest_gap_s,
        images}``; ``rate_hz`` is the mean over the topic's own time, None below two messages; ``images`` is a list of
        ``{height, width, encoding, count}`` for image topics, None for others.
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
        "truncated": bag.truncated,
        "topics": [
            _describe_topic(topic, stamps[name], images[name], corrupt[name]) for name, topic in bag.topics.items()
        ],
    }


def as_text(description: dict) -> str:
    """``describe``'s result for people."""
    lines = [
        f"{description['path']}  ({description['format']}, {description['messages']} messages, "
        f"{description['duration_s']:.3f} s)"
    ]
    if description["truncated"]:
        lines.append(f"  {description['truncated']}")
    for topic in description["topics"]:
        lines += ["", f"{topic['name']}  {topic['type']}"]
        rate = "" if topic["rate_hz"] is None else f", {topic['rate_hz']:.3f} Hz"
        lines.append(f"  {topic['count']} messages{rate}")
        if topic["corrupt"]:
            lines.append(f"  {topic['corrupt']} corrupt")
        for kind in topic["images"] or []:
            lines.append(f"  {kind['height']}x{kind['width']} {kind['encoding']}: {kind['count']}")
        if topic["gaps"]:
            lines.append(f"  {topic['gaps']} gaps, the longest {topic['longest_gap_s']:.3f} s")
    return "\n".join(lines)


def _describe_topic(topic: Topic, stamps: list[int], images: Counter, corrupt: int) -> dict:
    intervals = np.diff(np.sort(np.asarray(stamps, dtype=np.int64))) / 1e9
    median = float(np.median(intervals)) if intervals.size else 0.0
    gaps = intervals[intervals > GAP_FACTOR * median] if median > 0 else intervals[:0]
    span = float(intervals.sum())
    return {
        "name": topic.name,
        "type": topic.type,
        "count": len(stamps),
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


def _image_kind(message, type_name: str) -> tuple[int, int, str]:
    """(height, width, encoding); a compressed image has to be decoded for its size, and is (0, 0) if it cannot."""
    if type_name == IMAGE:
        return message.height, message.width, message.encoding
    image = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED) if message.data.size else None
    height, width = (0, 0) if image is None else image.shape[:2]
    return height, width, message.format
