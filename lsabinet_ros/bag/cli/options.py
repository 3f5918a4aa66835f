"""Arguments that several verbs of ``lsabinet bag`` share, and argparse types."""

import argparse
import math
from fractions import Fraction
from pathlib import Path

from lsabinet_core.errors import BagError

BAG_HELP = "rosbag2 folder, .mcap, .db3 or ROS 1 .bag"


def add_bag_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)


def add_playback_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how a bag is played: speed, part and names of the topics."""
    parser.add_argument(
        "--rate",
        type=float,
        default=1.0,
        metavar="X",
        help="playback speed; 2 is twice as fast, 1000 as fast as can be read (default: 1)",
    )
    parser.add_argument(
        "--start-offset",
        type=parse_seconds,
        default=0.0,
        metavar="S",
        help="leave out the first S seconds of the bag (default: 0)",
    )
    parser.add_argument(
        "--duration", type=parse_seconds, metavar="S", help="play only S seconds of the bag (default: all)"
    )
    parser.add_argument("--remap", nargs="+", default=[], metavar="A:=B", help="publish topic A under the name B")


def add_slop_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--slop",
        type=parse_seconds,
        default=0.0,
        metavar="S",
        help="maximum distance between the stamps of a frame and its label in seconds (default: 0)",
    )


def parse_seconds(text: str) -> float:
    """Parse a duration of at least 0 s; an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"expected a number of seconds of at least 0, got {text!r}")
    return value


def parse_rate(text: str) -> Fraction:
    """Parse a rate above 0 Hz exactly; an argparse type."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a rate above 0 Hz, such as 15 or 30000/1001, got {text!r}")
    return value


def parse_stamp(text: str) -> int:
    """Convert seconds since 1970 to nanoseconds exactly; a header stamp has 31 bits for the seconds."""
    try:
        stamp_ns = int(Fraction(text) * 1_000_000_000)
    except (ValueError, ZeroDivisionError):
        stamp_ns = -1
    if not 0 <= stamp_ns < 2**31 * 1_000_000_000:
        raise argparse.ArgumentTypeError(f"expected seconds since 1970, got {text!r}")
    return stamp_ns


def remappings(args: argparse.Namespace) -> dict[str, str]:
    """The new names of topics by their old ones, from ``--remap``."""
    return dict(map(_remapping, args.remap))


def _remapping(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(":=")
    if not (separator and old and new):
        raise BagError(f"expected a remapping such as /camera/image_raw:=/front/image_raw, got {text!r}")
    return old, new
