"""``lsabinet bag info``: describe a bag."""

import argparse
import contextlib
from pathlib import Path

from lsabinet_ros.bag.cli.options import add_bag_argument
from lsabinet_ros.bag.cli.results import status_for, write_json

HELP = "show the topics, rates, gaps and image sizes of a bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bag_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the description to this file, as JSON")


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.info import as_text, describe
    from lsabinet_ros.bag.reader import open_bag

    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        progress = stack.enter_context(Progress("reading", sum(topic.count for topic in bag.topics.values())))
        description = describe(bag, progress.update)
    print(as_text(description))
    write_json(args.json, description)
    return status_for(description["lost"])
