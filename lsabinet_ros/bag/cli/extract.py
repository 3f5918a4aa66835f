"""``lsabinet bag extract``: write the frames and labels of a bag as image files."""

import argparse
import contextlib
from pathlib import Path

from lsabinet_core.cli.segmenter_options import positive
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.cli.frame_sources import source_line
from lsabinet_ros.bag.cli.options import add_bag_argument, add_slop_argument
from lsabinet_ros.bag.cli.results import status_for

HELP = "write the frames and labels of a bag as image files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bag_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for images/ and labels/")
    parser.add_argument("--image-topic", metavar="T", help="topic of the images (default: the only one)")
    parser.add_argument(
        "--label-topic",
        metavar="T",
        help="topic of labels, or of masks that the node published (default: the one called labels in the same "
        "namespace)",
    )
    add_slop_argument(parser)
    parser.add_argument("--limit", type=positive, metavar="N", help="write only the first N frames")
    parser.add_argument("--jpeg", action="store_true", help="write the images as JPEG instead of PNG")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.extract import extract
    from lsabinet_ros.bag.labels import TopicLabels
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.samples import FrameSource
    from lsabinet_ros.bag.topics import find_image_topic, find_label_topic

    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise BagError(f"--out: expected a new or empty folder, got {args.out}")
    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        images = find_image_topic(bag, args.image_topic)
        labels = find_label_topic(bag, args.label_topic, images)
        progress = stack.enter_context(Progress("extracting"))
        source = FrameSource(
            bag,
            images,
            TopicLabels(bag, labels) if labels else None,
            label_set=None,
            slop_ns=round(args.slop * 1e9),
            limit=args.limit,
            on_skip=progress.warn,
        )
        extract(source, args.out, ".jpg" if args.jpeg else ".png", progress.update)
    print(source_line(source))
    return status_for(bag.losses)
