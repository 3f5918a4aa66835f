"""``lsabinet bag play``: publish a bag on the ROS 2 graph."""

import argparse
import contextlib
import signal
from pathlib import Path

from lsabinet_core.cli.segmenter_options import positive
from lsabinet_ros.bag.cli.options import add_bag_argument, add_playback_arguments, parse_seconds, remappings
from lsabinet_ros.bag.cli.results import status_for, write_json

HELP = "publish a bag on the ROS 2 graph with its recorded timing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bag_argument(parser)
    add_playback_arguments(parser)
    parser.add_argument("--loop", action="store_true", help="start again at the end, until Ctrl-C")
    parser.add_argument("--clock", action="store_true", help="publish the bag's time on /clock")
    parser.add_argument("--restamp", action="store_true", help="replace header stamps with the time of publication")
    parser.add_argument("--topics", nargs="+", metavar="T", help="play only these topics")
    parser.add_argument(
        "--wait",
        type=parse_seconds,
        default=10.0,
        metavar="S",
        help="maximum time to wait for subscribers in seconds; 0 does not wait (default: 10)",
    )
    parser.add_argument(
        "--subscribers", type=positive, default=1, metavar="N", help="number of subscribers to wait for (default: 1)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write a report on the sent messages to this file, as JSON"
    )
    parser.add_argument(
        "--frame-times",
        type=Path,
        metavar="FILE",
        help="write the stamp of each frame and the time of its publication (monotonic clock) to this file, as CSV",
    )


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.player import BagPlayer
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.topics import is_label_topic

    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        frames = sum(t.count for t in bag.topics.values() if t.is_image and not is_label_topic(t.name))
        progress = Progress("playing", None if args.loop else frames)
        frame_times: list[tuple[int, int]] = []
        player = BagPlayer(
            bag,
            speed=args.rate,
            loop=args.loop,
            clock=args.clock,
            start_offset_s=args.start_offset,
            duration_s=args.duration,
            topics=args.topics,
            remap=remappings(args),
            wait_s=args.wait,
            subscribers=args.subscribers,
            restamp=args.restamp,
            progress=progress.update,
            on_frame=lambda *times: frame_times.append(times),
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
    write_json(args.json, report.to_dict())
    if args.frame_times is not None:
        from lsabinet_core.files import write_text
        from lsabinet_core.text_table import csv_text

        rows = [{"stamp_ns": stamp, "published_monotonic_ns": published} for stamp, published in frame_times]
        write_text(args.frame_times, csv_text(rows))
    return status_for(report.lost)  # also after Ctrl-C, which is the usual end of a loop
