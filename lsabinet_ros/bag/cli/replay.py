"""``lsabinet bag replay``: play a bag to a live node and report what it answers."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsabinet_core.cli.segmenter_options import DEFAULT_WEIGHTS
from lsabinet_core.errors import BagError
from lsabinet_core.inference.backends import DEFAULT_BACKEND
from lsabinet_ros.bag.cli.options import add_bag_argument, add_playback_arguments, remappings
from lsabinet_ros.bag.cli.results import add_gate_arguments, gate_fails, open_gate, status_for
from lsabinet_ros.bag.settings import FAILED

if TYPE_CHECKING:
    from lsabinet_ros.bag.reader import Bag
    from lsabinet_ros.bag.replay import ReplaySession
    from lsabinet_ros.bag.replay_report import Agreement

HELP = "play a bag to a live node; measure drops and latency, and compare its masks with the offline ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bag_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for replay.json and the outputs")
    add_playback_arguments(parser)
    parser.add_argument(
        "--find-rate",
        action="store_true",
        help="also search for the highest frame rate at which at most 5 %% of the frames are dropped",
    )
    parser.add_argument("--image-topic", metavar="T", help="topic of the frames (default: the only one)")
    parser.add_argument("--topics", nargs="+", default=[], metavar="T", help="further topics to play")
    node = parser.add_argument_group("node under test")
    node.add_argument(
        "--mask-topic",
        metavar="T",
        help="test a running node that publishes masks on this topic (default: start the segmentation node)",
    )
    node.add_argument("--params-file", type=Path, metavar="FILE", help="parameter file of the segmentation node")
    node.add_argument(
        "--weights", metavar="W", help=f"weights file or name of shipped weights (default: {DEFAULT_WEIGHTS})"
    )
    node.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")
    node.add_argument("--backend", metavar="B", help=f"inference engine (default: {DEFAULT_BACKEND})")
    node.add_argument("--precision", metavar="P", help="auto, fp32, bf16, fp16 or int8 (default: auto)")
    parser.add_argument(
        "--record",
        nargs="+",
        default=[],
        metavar="T",
        help="topics of the node to write to outputs.mcap in addition to the masks; their messages must have headers",
    )
    add_gate_arguments(parser, "answered.min: 95", "replay.json")
    parser.add_argument(
        "--no-compare", action="store_true", help="do not compare the live masks with those computed offline"
    )


def run(args: argparse.Namespace) -> int:
    """Replay, compare and write the report; the exit status is INCOMPLETE if the bag is damaged."""
    from lsabinet_core.files import write_text
    from lsabinet_ros.bag import replay_report
    from lsabinet_ros.bag.offline_masks import PARAMETERS
    from lsabinet_ros.bag.player import EXPECTED_SPEED
    from lsabinet_ros.bag.rate_search import ENOUGH, find_rate
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.replay import OUTPUTS, ReplaySession, Selection
    from lsabinet_ros.bag.replay_gate import judge_replay
    from lsabinet_ros.bag.topics import find_image_topic
    from lsabinet_ros.bag.writer import BagWriter
    from lsabinet_ros.child_node import NodeSettings
    from lsabinet_ros.own_graph import use_own_graph

    remap = remappings(args)
    settings = {name: getattr(args, name) for name in ("weights", "device", "backend", "precision")}
    settings = {name: value for name, value in settings.items() if value is not None}
    if args.mask_topic and (settings or args.params_file):
        raise BagError("--mask-topic tests a running node: leave out --params-file, --weights, --device, ...")
    if not 0 < args.rate < float("inf"):
        raise BagError(f"--rate: {EXPECTED_SPEED}, got {args.rate:g}")
    if args.params_file and not args.params_file.is_file():
        raise BagError(f"--params-file: no such file: {args.params_file}")
    gate = open_gate(args.gate, args.baseline, replay=True)
    if not args.mask_topic:
        use_own_graph()
    args.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("ROS_LOG_DIR", str(args.out.resolve() / "log"))
    if "weights" in settings and Path(settings["weights"]).is_file():
        settings["weights"] = str(Path(settings["weights"]).resolve())
    node = None if args.mask_topic else NodeSettings({**settings, "use_sim_time": True}, args.params_file)
    mask_topic = args.mask_topic or OUTPUTS[0]
    outputs = args.out / "outputs.mcap"
    with contextlib.ExitStack() as stack:
        bag = stack.enter_context(open_bag(args.bag))
        images = find_image_topic(bag, args.image_topic)
        selection = Selection(images, args.topics, remap, args.start_offset, args.duration)
        session = stack.enter_context(ReplaySession(selection, node=node, mask_topic=mask_topic, out=args.out))
        session.start(bag, [*(() if args.mask_topic else OUTPUTS), *args.record])
        with BagWriter(outputs, overwrite=True) as writer:
            result = session.play(bag, args.rate, writer=writer)
        searched = find_rate(session, bag, args.rate) if args.find_rate else []
        parameters = {} if args.no_compare or args.mask_topic else session.parameters(PARAMETERS)
        session.stop_node()
        agreement = None
        if parameters.get("rectify"):
            print("lsabinet: warning: masks of rectified images are not compared with offline ones", file=sys.stderr)
        elif parameters:
            agreement = _compare(bag, images, outputs, mask_topic, session, parameters)
        report = {
            "schema_version": replay_report.SCHEMA_VERSION,
            "bag": str(args.bag),
            "image_topic": images,
            "mask_topic": mask_topic,
            "node": {
                "weights": session.state.weights or None,
                "backend": session.state.backend or None,
                "precision": session.state.precision or None,
                "exit_status": session.exit_status,
            },
            "replay": replay_report.pass_summary(result),
            "rates": [replay_report.pass_summary(row) for row in searched],
            "highest_rate_hz": replay_report.highest_rate_hz(searched, ENOUGH),
            "agreement": None if agreement is None else agreement.to_dict(),
            "lost": result.player["lost"],
        }
    verdicts = [] if gate is None else judge_replay(gate[0], report, gate[1])
    if gate is not None:
        report["gate"] = [verdict.to_dict() for verdict in verdicts]
    write_text(args.out / "replay.json", json.dumps(report, indent=2) + "\n")
    print(f"{args.bag} {images}, rate {args.rate:g}\n\n{replay_report.as_text(report)}\n\nreport: {args.out}")
    failed = gate is not None and gate_fails(verdicts, args.out / "junit.xml", "lsabinet bag replay")
    return FAILED if failed else status_for(report["lost"])


def _compare(
    bag: "Bag",
    images: str,
    outputs: Path,
    mask_topic: str,
    session: "ReplaySession",
    parameters: Mapping[str, Any],
) -> "Agreement":
    """Segment the answered frames offline, as the node did."""
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.inference import Segmenter
    from lsabinet_ros.bag.offline_masks import OfflineMasks, input_size
    from lsabinet_ros.bag.reader import open_bag
    from lsabinet_ros.bag.replay_report import compare_offline

    state = session.state
    with (
        open_bag(outputs) as recorded,
        Segmenter.from_pretrained(
            state.weights,
            device=parameters["device"],
            backend=state.backend,
            precision=state.precision,
            input_size=input_size(parameters),
        ) as segmenter,
        Progress("comparing") as progress,
    ):
        return compare_offline(bag, images, recorded, mask_topic, OfflineMasks(segmenter, parameters), progress.update)
