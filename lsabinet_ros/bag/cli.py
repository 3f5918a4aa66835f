"""``lsabinet bag``: make, inspect, play and evaluate bags."""

import argparse
import contextlib
import functools
import json
import logging
import math
import signal
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from lsabinet_core.cli.segmenter_options import add_segmenter_arguments, open_segmenter, positive
from lsabinet_core.errors import BagError

HELP = "make, inspect, play and evaluate ROS bags (no ROS needed, except to play)"

BAG_HELP = "rosbag2 folder, .mcap, .db3 or ROS 1 .bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, add, run, text in (
        ("make", _add_make, run_make, "make a rosbag2 of a data set, a folder of images or a video"),
        ("info", _add_info, run_info, "topics, rates, gaps and image sizes of a bag"),
        ("play", _add_play, run_play, "publish a bag on the ROS 2 graph, as it was timed"),
        ("evaluate", _add_evaluate, run_evaluate, "segment a bag offline: mIoU against its labels, latency"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        add(verb)
        verb.set_defaults(run=functools.partial(_run_verb, run))


def run(args: argparse.Namespace) -> int:
    """Run the verb that ``args`` names."""
    return args.run(args)


def _run_verb(verb: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    logging.basicConfig(format="lsabinet: warning: %(message)s", level=logging.WARNING)
    return verb(args)


def _add_make(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", metavar="INPUT", help="folder of images, or video file")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--video", type=Path, metavar="FILE", help="video file")
    source.add_argument("--dataset", metavar="D", help="camvid, cityscapes, folder or synthetic")
    parser.add_argument("--root", type=Path, metavar="DIR", help="the data set's folder (synthetic needs none)")
    parser.add_argument("--split", default="val", metavar="S", help="which split of the data set (val)")
    parser.add_argument("--labels", type=Path, metavar="DIR", help="folder of label PNGs named like the images")
    parser.add_argument("--void", type=int, metavar="ID", help="label id that means unlabelled, besides 255")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N frames")
    parser.add_argument(
        "--rate", type=_rate, metavar="HZ", help="frames a second: 15, 29.97, 30000/1001 (a video's own)"
    )
    parser.add_argument(
        "--start", type=_stamp, metavar="S", help="stamp of the first frame, seconds of the epoch (now)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="F", help="X.mcap, X.db3, or X: a rosbag2 folder")
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), help="storage in a rosbag2 folder (mcap)")
    parser.add_argument("--compressed", choices=("jpeg", "png"), help="write sensor_msgs/CompressedImage")
    parser.add_argument("--quality", type=int, default=90, metavar="Q", help="JPEG quality, 1 to 100 (90)")
    parser.add_argument("--image-topic", metavar="T", help="topic of the images (/camera/image_raw)")
    parser.add_argument("--label-topic", metavar="T", help="topic of the labels (/camera/labels)")
    parser.add_argument("--frame-id", metavar="ID", help="frame_id of every header (camera)")
    parser.add_argument("--overwrite", action="store_true", help="replace a bag that is there")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the description to this file as JSON")


def _add_play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)
    parser.add_argument("--rate", type=float, default=1.0, metavar="X", help="speed: 2 plays twice as fast (1)")
    parser.add_argument("--loop", action="store_true", help="begin again at the end, until Ctrl-C")
    parser.add_argument("--clock", action="store_true", help="publish the bag's time on /clock")
    parser.add_argument("--restamp", action="store_true", help="header stamps become the time of publication")
    parser.add_argument("--topics", nargs="+", metavar="T", help="only these topics")
    parser.add_argument("--remap", nargs="+", default=[], metavar="A:=B", help="publish topic A as B")
    parser.add_argument(
        "--wait", type=_seconds, default=10.0, metavar="S", help="longest wait for subscribers; 0: none (10)"
    )
    parser.add_argument("--subscribers", type=positive, default=1, metavar="N", help="subscribers to wait for (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was sent to this file as JSON")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for report.json")
    parser.add_argument("--image-topic", metavar="T", help="topic of the images (the only one)")
    parser.add_argument("--label-topic", metavar="T", help="topic of the labels (the one called labels)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N frames")
    parser.add_argument("--overlays", action="store_true", help="write DIR/overlay.mp4 too")
    add_segmenter_arguments(parser)


def run_make(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.writer import BagSettings, make_bag

    source = _open_make_source(args)
    rate = args.rate or source.rate
    if rate is None:
        raise BagError("the frames' rate is not known: give it with --rate, e.g. --rate 15")
    chosen = {
        "storage": args.storage,
        "compression": args.compressed,
        "quality": args.quality,
        "image_topic": args.image_topic,
        "label_topic": args.label_topic,
        "frame_id": args.frame_id,
    }
    settings = BagSettings(**{name: value for name, value in chosen.items() if value is not None})
    total = source.count if args.limit is None else min(args.limit, source.count or args.limit)
    with Progress("writing", total) as progress:
        frames, labels = make_bag(
            source,
            args.out,
            rate=rate,
            start_ns=time.time_ns() if args.start is None else args.start,
            settings=settings,
            limit=args.limit,
            overwrite=args.overwrite,
            progress=progress.update,
        )
    print(f"{args.out}: {frames} frames, {labels} labels, {float(frames / rate):.2f} s at {float(rate):g} Hz")
    return 0


def _open_make_source(args: argparse.Namespace):
    from lsabinet_ros.bag.sources import DatasetSource, FileSource

    if args.dataset is None:
        return FileSource(args.input or args.images or args.video, args.labels, args.void)
    if args.labels is not None or args.void is not None:
        raise BagError("--labels and --void go with a folder of images: a data set has its own labels")
    from lsabinet_core.data import open_dataset

    return DatasetSource(open_dataset(args.dataset, args.root, args.split))


def run_info(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.info import as_text, describe
    from lsabinet_ros.bag.reader import open_bag

    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        progress = stack.enter_context(Progress("reading", sum(topic.count for topic in bag.topics.values())))
        description = describe(bag, progress.update)
    print(as_text(description))
    _write_json(args.json, description)
    return 0


def run_play(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.player import BagPlayer
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.topics import is_label_topic

    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        frames = sum(t.count for t in bag.topics.values() if t.is_image and not is_label_topic(t.name))
        progress = Progress("playing", None if args.loop else frames)
        player = BagPlayer(
            bag,
            speed=args.rate,
            loop=args.loop,
            clock=args.clock,
            topics=args.topics,
            remap=dict(_remapping(text) for text in args.remap),
            wait_s=args.wait,
            subscribers=args.subscribers,
            restamp=args.restamp,
            progress=progress.update,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.signal(number, lambda *_: player.stop())
            stack.callback(signal.signal, number, previous)
        with progress:
            report = player.run()
    rate = "" if report.rate_hz is None else f" at {report.rate_hz:.2f} Hz"
    print(
        f"{report.frames_sent} frames sent{rate}, {sum(report.sent.values())} messages, {report.skipped} skipped"
        + (", interrupted" if report.interrupted else "")
    )
    _write_json(args.json, report.to_dict())
    return 0  # Ctrl-C is how a loop ends, so it is no error


def run_evaluate(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.evaluation import evaluate_bag
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.topics import find_image_topic

    if args.out.exists() and not args.out.is_dir():
        raise BagError(f"expected a folder for --out, got the file {args.out}")
    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        image_topic = find_image_topic(bag, args.image_topic)
        segmenter = stack.enter_context(open_segmenter(args))
        overlays = stack.enter_context(_overlay_video(args.out, bag, image_topic, segmenter)) if args.overlays else None
        progress = stack.enter_context(Progress("segmenting"))
        report = evaluate_bag(
            segmenter,
            bag,
            image_topic=image_topic,
            label_topic=args.label_topic,
            limit=args.limit,
            on_frame=overlays,
            on_skip=progress.warn,
            progress=progress.update,
        )
    print(f"{args.weights} on {args.bag}\n\n{report.table()}")
    figures = report.to_dict()
    print(f"\n{figures['frames']} frames, {figures['labelled_frames']} with a label, {figures['skipped']} skipped")
    _write_json(args.out / "report.json", figures)
    return 0


@contextlib.contextmanager
def _overlay_video(folder: Path, bag, image_topic: str, segmenter):
    """A function that appends an evaluated frame to ``overlay.mp4``, at the mean rate of the bag."""
    import cv2

    from lsabinet_core.cli.image_files import OverlayVideo

    count = bag.topics[image_topic].count
    fps = (count - 1) / bag.duration_s if count > 1 and bag.duration_s > 0 else None
    size = None
    with OverlayVideo(folder / "overlay.mp4", fps) as video:

        def append(evaluated) -> None:
            nonlocal size
            overlay = segmenter.overlay(evaluated.frame, evaluated.segmentation.mask)
            size = size or overlay.shape[1::-1]
            video.write(overlay if overlay.shape[1::-1] == size else cv2.resize(overlay, size))

        yield append


def _write_json(path: Path | None, content: dict) -> None:
    from lsabinet_core.files import write_text

    if path is not None:
        write_text(path, json.dumps(content, indent=2) + "\n")


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise argparse.ArgumentTypeError(f"expected a rate above 0 Hz, such as 15 or 30000/1001, got {text!r}")
    return rate


def _stamp(text: str) -> int:
    """Seconds of the epoch to nanoseconds, exactly; a header stamp has 31 bits of seconds."""
    try:
        stamp_ns = int(Fraction(text) * 1_000_000_000)
    except (ValueError, ZeroDivisionError):
        stamp_ns = -1
    if not 0 <= stamp_ns < 2**31 * 1_000_000_000:
        raise argparse.ArgumentTypeError(f"expected seconds since 1970, got {text!r}")
    return stamp_ns


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"expected seconds of 0 or more, got {text!r}")
    return seconds


def _remapping(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(":=")
    if not (separator and old and new):
        raise BagError(f"expected a remapping such as /camera/image_raw:=/front/image_raw, got {text!r}")
    return old, new
