"""``lsabinet bag evaluate``: segment the frames of bags offline and report on them."""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.segmenter_options import add_metric_arguments, add_segmenter_arguments, open_segmenter, positive
from lsabinet_core.errors import BagError
from lsabinet_ros.bag.cli import many_bags
from lsabinet_ros.bag.cli.frame_sources import frame_sources, open_topics, source_line
from lsabinet_ros.bag.cli.options import BAG_HELP, add_slop_argument
from lsabinet_ros.bag.cli.results import add_gate_arguments, gate_fails, open_gate, show_spans, status_for
from lsabinet_ros.bag.cli.second_segmenter import add_against_argument, second_options
from lsabinet_ros.bag.settings import FAILED

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmentation
    from lsabinet_ros.bag.frame_results import FrameResult
    from lsabinet_ros.bag.samples import BagSample

HELP = "segment bags offline; measure latency, and mIoU where there are labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bags", type=Path, nargs="+", metavar="BAG", help=BAG_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the report")
    parser.add_argument("--image-topic", nargs="+", metavar="T", help="topics of the images (default: the only one)")
    parser.add_argument(
        "--label-topic",
        nargs="+",
        metavar="T",
        help="topics of the labels, one for each of the images (default: the one called labels in the same namespace)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="take the labels from this folder instead: PNGs of class ids, named by the header stamp in nanoseconds",
    )
    add_slop_argument(parser)
    parser.add_argument("--limit", type=positive, metavar="N", help="evaluate only the first N frames of each topic")
    parser.add_argument(
        "--spans",
        type=Path,
        metavar="YAML",
        help="also report on parts of the drive: a list of `- {name: night, from: 0, to: 90}` in seconds of bag time",
    )
    parser.add_argument("--overlays", action="store_true", help="also write DIR/overlay.mp4")
    parser.add_argument(
        "--out-bag", action="store_true", help="also write masks, overlays and latencies to the bag DIR/outputs.mcap"
    )
    add_gate_arguments(parser, "miou.min: 60", "report.json")
    many = parser.add_argument_group("many bags", "a folder of bags stands for all bags in it")
    where = many.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="evaluate the bags in N processes, one bag each, with a report of each in DIR/bags (default: one after "
        "the other in this process)",
    )
    where.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="evaluate the bags on a Ray cluster, one task per bag with --threads CPUs (default: 1): HOST:PORT, "
        "ray://HOST:PORT, auto for the cluster that this machine is a node of, or local for a cluster of its own cores",
    )
    many.add_argument(
        "--resume",
        action="store_true",
        help="with --workers or --ray: skip the bags that an earlier run has finished",
    )
    add_metric_arguments(parser)
    parser.add_argument(
        "--temporal",
        action="store_true",
        help="measure temporal consistency: agreement with the previous mask, warped by the optical flow",
    )
    add_segmenter_arguments(parser)
    add_against_argument(parser)


def run(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.evaluation.formats import table
    from lsabinet_ros.bag.evaluation import evaluate_bags
    from lsabinet_ros.bag.fleet import find_bags
    from lsabinet_ros.bag.gate import check_classes, check_spans, judge
    from lsabinet_ros.bag.output_bag import OutputBag
    from lsabinet_ros.bag.overlays import OverlayVideos
    from lsabinet_ros.bag.page import write_page
    from lsabinet_ros.bag.report import agreement_lines, as_dict, write_report
    from lsabinet_ros.bag.spans import names_of, read_spans
    from lsabinet_ros.bag.worst_frames import WorstFrames

    if args.out.exists() and not args.out.is_dir():
        raise BagError(f"--out: expected a folder, got the file {args.out}")
    # Before the evaluation, which may take hours.
    gate = open_gate(args.gate, args.baseline)
    spans = () if args.spans is None else read_spans(args.spans)
    check_spans(gate[0] if gate else [], names_of(spans))
    args.bags = find_bags(args.bags)
    if args.workers is not None or args.ray is not None:
        return many_bags.run(args, gate, _command())
    if args.resume:
        raise BagError("--resume needs --workers or --ray")
    with contextlib.ExitStack() as stack:
        topics = open_topics(args, stack)
        segmenter = stack.enter_context(open_segmenter(args))
        second = None if args.against is None else stack.enter_context(open_segmenter(second_options(args)))
        check_classes(*(gate or ([], None)), segmenter.label_set.names)
        progress = stack.enter_context(Progress("segmenting"))
        sources = frame_sources(args, topics, segmenter.label_set, progress.warn)
        outputs: list[OverlayVideos | OutputBag] = []
        if args.overlays:
            outputs.append(stack.enter_context(OverlayVideos(args.out, sources, segmenter)))
        if args.out_bag:
            outputs.append(stack.enter_context(OutputBag(args.out / "outputs.mcap", segmenter)))
        worst = WorstFrames(segmenter)

        def on_frame(
            sample: "BagSample", result: "Segmentation", frame: "FrameResult", second: "Segmentation | None"
        ) -> None:
            worst.add(sample, result, frame, second)
            for output in outputs:
                output.append(sample, result)

        evaluation = evaluate_bags(
            segmenter,
            sources,
            boundary_tolerance_px=args.boundary,
            calibration=args.calibration,
            temporal=args.temporal,
            against=second,
            spans=spans,
            on_frame=on_frame,
            progress=progress.update,
        )
        problems = [problem for output in outputs if (problem := output.close())]
        content = as_dict(evaluation, segmenter.device, _command())
    verdicts = [] if gate is None else judge(gate[0], content, gate[1])
    if gate is not None:
        content["gate"] = [verdict.to_dict() for verdict in verdicts]
    write_report(args.out, content, evaluation)
    write_page(args.out / "report.html", content, evaluation, worst.by_criterion(), verdicts)
    print(f"{args.weights} on {', '.join(map(str, args.bags))}\n\n{table(evaluation.report)}\n")
    for line in agreement_lines(content):
        print(line)
    show_spans(content)
    for source in evaluation.sources:
        print(source_line(source))
    print(f"report: {args.out}")
    evaluation.check_labels()
    failed = gate is not None and gate_fails(verdicts, args.out / "junit.xml", "lsabinet bag evaluate")
    if problems:
        raise BagError("; ".join(problems))
    return FAILED if failed else status_for(evaluation.lost)


def _command() -> list[str]:
    return ["lsabinet", *sys.argv[1:]]
