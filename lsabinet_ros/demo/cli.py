"""``lsabinet demo``: replay a drive through the node; write a video, a latency plot and a summary."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.segmenter_options import DEFAULT_WEIGHTS
from lsabinet_core.errors import BagError
from lsabinet_core.inference.backends import DEFAULT_BACKEND

if TYPE_CHECKING:
    from lsabinet_ros.demo.session import Replay

HELP = "replay a drive through the segmentation node over ROS 2; write a video, a latency plot and a summary"

SYNTHETIC_RATE_HZ = 15
SYNTHETIC_WEIGHTS = "lsabinet_synthetic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        nargs="?",
        metavar="INPUT",
        help="bag, video, or topic of a running camera such as /camera/image_raw (default: a synthetic drive of 20 s)",
    )
    parser.add_argument("--image-topic", metavar="T", help="topic of the images in a bag (default: the only one)")
    parser.add_argument(
        "--label-topic", metavar="T", help="topic of the labels in a bag (default: the one called labels)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="folder for the results (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        metavar="W",
        help=f"weights file or name of shipped weights (default: {SYNTHETIC_WEIGHTS} for the synthetic drive, "
        f"{DEFAULT_WEIGHTS} otherwise)",
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="B",
        help="inference engine, or auto for the fastest one on this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="X", help="playback speed; 0.5 is half as fast (default: 1)"
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="how long to record a running camera (default: 20)"
    )
    parser.add_argument(
        "--no-video", action="store_true", help="do not write the annotated video, which costs CPU time"
    )


def run(args: argparse.Namespace) -> int:
    import os

    from lsabinet_ros.demo import results, session
    from lsabinet_ros.own_graph import use_own_graph

    args.out.mkdir(parents=True, exist_ok=True)
    live = _is_topic(args.input)
    if not live:
        use_own_graph()
    os.environ.setdefault("ROS_LOG_DIR", str(args.out.resolve() / "log"))
    weights = args.weights or (SYNTHETIC_WEIGHTS if args.input is None else DEFAULT_WEIGHTS)
    source = session.LiveTopic(str(args.input), args.seconds) if live else _replay(args)
    _say(f"starting the node with {weights}")
    record = session.run(
        source,
        weights=_absolute(weights),
        device=args.device,
        backend=args.backend,
        out=args.out,
        video=not args.no_video,
    )
    summary = results.summarise(record, weights=weights)
    results.write(summary, record, args.out)
    print(results.as_text(summary, args.out))
    return 0


def _replay(args: argparse.Namespace) -> "Replay":
    from lsabinet_ros.demo import session

    if (args.image_topic or args.label_topic) and not (args.input and _is_bag(Path(args.input))):
        raise BagError(f"--image-topic and --label-topic need a bag as INPUT, got {args.input or 'none'}")
    bag = _bag(args)
    return session.Replay(bag, args.rate, args.image_topic, args.label_topic)


def _is_topic(text: str | None) -> bool:
    return text is not None and text.startswith("/") and not Path(text).exists()


def _is_bag(path: Path) -> bool:
    return path.suffix in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").is_file()


def _absolute(weights: str) -> str:
    """Make a path absolute, because the node has another working directory; leave a name as it is."""
    return str(Path(weights).resolve()) if Path(weights).is_file() else weights


def _bag(args: argparse.Namespace) -> Path:
    """The bag to play: the given one, or one made from the given video or folder or from the synthetic drive."""
    import time
    from fractions import Fraction

    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.data import open_dataset
    from lsabinet_ros.bag.sources import DatasetSource, FileSource
    from lsabinet_ros.bag.writer import make_bag

    path = None if args.input is None else Path(args.input)
    if path is not None and not path.exists():
        raise BagError(f"{path} does not exist: expected a bag, a video or an absolute topic name")
    if path is not None and _is_bag(path):
        return path
    if path is None:
        source, rate = DatasetSource(open_dataset("synthetic", None, "drive")), SYNTHETIC_RATE_HZ
    else:
        source = FileSource(path)
        rate = source.rate or SYNTHETIC_RATE_HZ
    bag = args.out / "drive.mcap"
    with Progress("preparing the drive", source.count) as progress:
        make_bag(source, bag, rate=Fraction(rate), start_ns=time.time_ns(), overwrite=True, progress=progress.update)
    return bag


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
