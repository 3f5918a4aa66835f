"""The image topics of the bags that a command names, with their labels."""

import argparse
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from lsabinet_core.errors import BagError

if TYPE_CHECKING:
    from lsabinet_core.labels import LabelSet
    from lsabinet_ros.bag.samples import FrameSource


def open_topics(args: argparse.Namespace, stack: contextlib.ExitStack) -> list[tuple]:
    """Open the bags; returns (bag, image topic, label topic or None) for everything to evaluate."""
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.topics import find_image_topic, find_label_topic

    if args.labels is not None and args.label_topic:
        raise BagError("--labels and --label-topic exclude each other")
    if args.label_topic and len(args.label_topic) != len(args.image_topic or [None]):
        raise BagError(
            f"expected as many topics for --label-topic as for --image-topic, got {len(args.label_topic)} and "
            f"{len(args.image_topic or [])}"
        )
    found = []
    for path in args.bags:
        bag = stack.enter_context(open_bag(path))
        for index, name in enumerate(args.image_topic or [None]):
            images = find_image_topic(bag, name)
            labels = None
            if args.labels is None:
                labels = find_label_topic(bag, args.label_topic[index] if args.label_topic else None, images)
            if images == labels:
                raise BagError(f"{images} cannot be the topic of both the images and the labels")
            found.append((bag, images, labels))
    used = [(id(bag), labels) for bag, _, labels in found if labels is not None]
    if len(set(used)) < len(used):
        raise BagError("one label topic would belong to several image topics: choose one for each with --label-topic")
    return found


def frame_sources(
    args: argparse.Namespace, topics: list[tuple], label_set: "LabelSet", on_skip: Callable[[str], None]
) -> "list[FrameSource]":
    from lsabinet_ros.bag.labels import FolderLabels, TopicLabels
    from lsabinet_ros.bag.samples import FrameSource

    folder = None if args.labels is None else FolderLabels(args.labels)
    return [
        FrameSource(
            bag,
            images,
            folder or (TopicLabels(bag, labels) if labels else None),
            label_set,
            slop_ns=round(args.slop * 1e9),
            limit=args.limit,
            on_skip=on_skip,
        )
        for bag, images, labels in topics
    ]


def source_line(source: "FrameSource") -> str:
    """One line on the frames and labels of a source."""
    summary = source.summary()
    labels = summary["labels"]
    line = f"{summary['bag']} {summary['image_topic']}: {summary['frames']} frames, {summary['skipped_frames']} skipped"
    if source.labels is None:
        return f"{line}, no labels"
    line += f"; {labels['used']} of {labels['total']} labels used, {labels['skipped']} skipped"
    if labels["largest_offset_ns"]:
        line += f", up to {labels['largest_offset_ns'] / 1e6:g} ms from their frame"
    if labels["duplicates"]:
        line += f", {labels['duplicates']} with the stamp of another one"
    if labels["without_frame"]:
        named = ", ".join(map(str, labels["without_frame_ns"]))
        more = ", ..." if labels["without_frame"] > len(labels["without_frame_ns"]) else ""
        line += f", {labels['without_frame']} without a frame (stamps in ns: {named}{more}){source.slop_hint()}"
    return line
