"""``lsabinet bag``: make, inspect, play and evaluate bags."""

import argparse
import contextlib
import functools
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from lsabinet_core.cli.logs import show_warnings
from lsabinet_core.cli.segmenter_options import add_metric_arguments, add_segmenter_arguments, open_segmenter, positive
from lsabinet_core.errors import BagError
from lsabinet_ros.bag import replay_cli
from lsabinet_ros.bag.settings import COMPRESSIONS, DEFAULT_SETTINGS, INCOMPLETE, STORAGES, BagSettings

if TYPE_CHECKING:
    from lsabinet_core.inference import Segmentation
    from lsabinet_core.labels import LabelSet
    from lsabinet_ros.bag.evaluation import FrameResult
    from lsabinet_ros.bag.samples import BagSample, FrameSource

HELP = "make, inspect, play, replay, evaluate, extract and compare ROS bags (only play and replay need ROS)"

BAG_HELP = "rosbag2 folder, .mcap, .db3 or ROS 1 .bag"

FAILED = 4
"""Exit status if a limit of a gate is not kept."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for name, add, run, text in (
        ("make", _add_make, run_make, "make a rosbag2 from a data set, a folder of images or a video"),
        ("info", _add_info, run_info, "show the topics, rates, gaps and image sizes of a bag"),
        ("play", _add_play, run_play, "publish a bag on the ROS 2 graph with its recorded timing"),
        (
            "replay",
            functools.partial(replay_cli.add_arguments, seconds=_seconds),
            lambda args: replay_cli.run(args, dict(map(_remapping, args.remap))),
            "play a bag to a live node; measure drops and latency, and compare its masks with the offline ones",
        ),
        (
            "evaluate",
            _add_evaluate,
            run_evaluate,
            "segment bags offline; measure latency, and mIoU where there are labels",
        ),
        ("extract", _add_extract, run_extract, "write the frames and labels of a bag as image files"),
        (
            "compare",
            _add_compare,
            run_compare,
            "compare two reports of `bag evaluate`, and fail if the second is worse",
        ),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        add(verb)
        verb.set_defaults(run=functools.partial(_run_verb, run))


def run(args: argparse.Namespace) -> int:
    """Run the verb that ``args`` selects."""
    return args.run(args)


def _run_verb(verb: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    show_warnings("lsabinet_ros")
    return verb(args)


def _add_make(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", metavar="INPUT", help="folder of images, or video file")
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    source.add_argument("--video", type=Path, metavar="FILE", help="video file")
    source.add_argument("--dataset", metavar="D", help="data set: camvid, cityscapes, folder or synthetic")
    parser.add_argument("--root", type=Path, metavar="DIR", help="folder of the data set (not needed for synthetic)")
    parser.add_argument("--split", default="val", metavar="S", help="split of the data set (default: val)")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="folder of label PNGs with the same names as the images"
    )
    parser.add_argument("--void", type=int, metavar="ID", help="label id that means unlabelled, in addition to 255")
    parser.add_argument("--limit", type=positive, metavar="N", help="write only the first N frames")
    parser.add_argument(
        "--rate",
        type=_rate,
        metavar="HZ",
        help="frame rate, such as 15, 29.97 or 30000/1001 (default: the stamps of the video)",
    )
    parser.add_argument(
        "--start", type=_stamp, metavar="S", help="stamp of the first frame in seconds since 1970 (default: now)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="F", help="X.mcap or X.db3 for a single file, X for a rosbag2 folder"
    )
    parser.add_argument("--storage", choices=STORAGES, help="storage of a rosbag2 folder (default: mcap)")
    parser.add_argument("--compressed", choices=COMPRESSIONS, help="write sensor_msgs/CompressedImage")
    parser.add_argument(
        "--quality",
        type=int,
        default=DEFAULT_SETTINGS.quality,
        metavar="Q",
        help="JPEG quality, 1 to 100 (default: %(default)s)",
    )
    parser.add_argument(
        "--image-topic",
        default=DEFAULT_SETTINGS.image_topic,
        metavar="T",
        help="topic of the images (default: %(default)s)",
    )
    parser.add_argument(
        "--label-topic",
        default=DEFAULT_SETTINGS.label_topic,
        metavar="T",
        help="topic of the labels (default: %(default)s)",
    )
    parser.add_argument(
        "--frame-id",
        default=DEFAULT_SETTINGS.frame_id,
        metavar="ID",
        help="frame_id of every header (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bag")


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the description to this file, as JSON")


def _add_play(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="X", help="playback speed; 2 is twice as fast (default: 1)"
    )
    parser.add_argument("--loop", action="store_true", help="start again at the end, until Ctrl-C")
    parser.add_argument(
        "--start-offset",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="leave out the first S seconds of the bag (default: 0)",
    )
    parser.add_argument("--duration", type=_seconds, metavar="S", help="play only S seconds of the bag (default: all)")
    parser.add_argument("--clock", action="store_true", help="publish the bag's time on /clock")
    parser.add_argument("--restamp", action="store_true", help="replace header stamps by the time of publication")
    parser.add_argument("--topics", nargs="+", metavar="T", help="play only these topics")
    parser.add_argument("--remap", nargs="+", default=[], metavar="A:=B", help="publish topic A under the name B")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="maximum time to wait for subscribers in seconds; 0 does not wait (default: 10)",
    )
    parser.add_argument(
        "--subscribers", type=positive, default=1, metavar="N", help="number of subscribers to wait for (default: 1)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write a report of what was sent to this file, as JSON"
    )
    parser.add_argument(
        "--frame-times",
        type=Path,
        metavar="FILE",
        help="write the stamp of each frame and when it was published (monotonic clock) to this file, as CSV",
    )


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--slop",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="maximum distance between the stamps of a frame and its label in seconds (default: 0)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="evaluate only the first N frames of each topic")
    parser.add_argument("--overlays", action="store_true", help="also write DIR/overlay.mp4")
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="YAML",
        help="limits such as `miou.min: 60`; exit with status 4 if one is not kept, and write DIR/junit.xml",
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="REPORT", help="report.json that limits on changes (max_drop) refer to"
    )
    many = parser.add_argument_group("many bags", "a folder of bags stands for all bags in it")
    many.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="evaluate the bags in N processes, one bag each, with a report of each in DIR/bags (default: one after "
        "the other in this process)",
    )
    many.add_argument(
        "--resume", action="store_true", help="with --workers: skip the bags that an earlier run has finished"
    )
    add_metric_arguments(parser)
    parser.add_argument(
        "--temporal",
        action="store_true",
        help="measure temporal consistency: agreement with the mask before, warped by the optical flow",
    )
    add_segmenter_arguments(parser)


def _add_extract(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag", type=Path, metavar="F", help=BAG_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for images/ and labels/")
    parser.add_argument("--image-topic", metavar="T", help="topic of the images (default: the only one)")
    parser.add_argument(
        "--label-topic",
        metavar="T",
        help="topic of labels, or of masks that the node published (default: the one called labels in the namespace)",
    )
    parser.add_argument(
        "--slop",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="maximum distance between the stamps of a frame and its label in seconds (default: 0)",
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="write only the first N frames")
    parser.add_argument("--jpeg", action="store_true", help="write the images as JPEG instead of PNG")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("baseline", type=Path, metavar="A", help="report.json of the weights in use, or its folder")
    parser.add_argument("report", type=Path, metavar="B", help="report.json of the new weights, or its folder")
    parser.add_argument(
        "--max-miou-drop", metavar="X", help="allowed drop of the mIoU in percentage points, or as X%% of A's"
    )
    parser.add_argument(
        "--max-p99-increase",
        metavar="X",
        help="allowed increase of the 99th percentile of the latency in ms, or as X%%",
    )
    parser.add_argument("--gate", type=Path, metavar="YAML", help="further limits, as for `bag evaluate --gate`")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the verdicts to this file as JUnit XML")


def run_make(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_ros.bag.writer import make_bag

    source = _open_make_source(args)
    rate = args.rate or (None if source.has_times else source.rate)
    if rate is None and not source.has_times:
        raise BagError("the frame rate is unknown: set it with --rate, for example --rate 15")
    settings = BagSettings(
        storage=args.storage,
        compression=args.compressed,
        quality=args.quality,
        image_topic=args.image_topic,
        label_topic=args.label_topic,
        frame_id=args.frame_id,
    )
    total = source.count if args.limit is None else min(args.limit, source.count or args.limit)
    with Progress("writing", total) as progress:
        written = make_bag(
            source,
            args.out,
            rate=rate,
            start_ns=time.time_ns() if args.start is None else args.start,
            settings=settings,
            limit=args.limit,
            overwrite=args.overwrite,
            progress=progress.update,
        )
    timing = "with the stamps of the video" if rate is None else f"at {float(rate):g} Hz"
    seconds = (written.last_ns - written.first_ns) / 1e9
    print(f"{args.out}: {written.frames} frames, {written.labels} labels, {seconds:.3f} s {timing}")
    return _status([source.lost] if source.lost else [])


def _open_make_source(args: argparse.Namespace):
    from lsabinet_ros.bag.sources import DatasetSource, FileSource

    if args.dataset is None:
        return FileSource(args.input or args.images or args.video, args.labels, args.void)
    if args.labels is not None or args.void is not None:
        raise BagError("--labels and --void need a folder of images: a data set has its own labels")
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
    return _status(description["lost"])


def run_play(args: argparse.Namespace) -> int:
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
            remap=dict(_remapping(text) for text in args.remap),
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
    _write_json(args.json, report.to_dict())
    if args.frame_times is not None:
        from lsabinet_core.files import write_text
        from lsabinet_core.text_table import csv_text

        rows = [{"stamp_ns": stamp, "published_monotonic_ns": published} for stamp, published in frame_times]
        write_text(args.frame_times, csv_text(rows))
    return _status(report.lost)  # also after Ctrl-C, which is the usual end of a loop


def run_extract(args: argparse.Namespace) -> int:
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
    print(_source_line(source))
    return _status(bag.losses)


def run_evaluate(args: argparse.Namespace) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.evaluation.formats import table
    from lsabinet_ros.bag.evaluation import evaluate_bags
    from lsabinet_ros.bag.fleet import find_bags
    from lsabinet_ros.bag.gate import check_classes, judge
    from lsabinet_ros.bag.overlays import OverlayVideos
    from lsabinet_ros.bag.page import write_page
    from lsabinet_ros.bag.report import as_dict, write_report
    from lsabinet_ros.bag.worst_frames import WorstFrames

    if args.out.exists() and not args.out.is_dir():
        raise BagError(f"--out: expected a folder, got the file {args.out}")
    # Before the evaluation, which may take hours.
    gate = _open_gate(args.gate, args.baseline)
    args.bags = find_bags(args.bags)
    if args.workers is not None:
        return _evaluate_fleet(args, gate)
    if args.resume:
        raise BagError("--resume needs --workers")
    with contextlib.ExitStack() as stack:
        topics = _open_topics(args, stack)
        segmenter = stack.enter_context(open_segmenter(args))
        check_classes(gate[0] if gate else [], segmenter.label_set.names)
        progress = stack.enter_context(Progress("segmenting"))
        sources = _frame_sources(args, topics, segmenter.label_set, progress.warn)
        overlays = stack.enter_context(OverlayVideos(args.out, sources, segmenter)) if args.overlays else None
        worst = WorstFrames(segmenter)

        def on_frame(sample: "BagSample", result: "Segmentation", frame: "FrameResult") -> None:
            worst.add(sample, result, frame)
            if overlays is not None:
                overlays.append(sample, result)

        evaluation = evaluate_bags(
            segmenter,
            sources,
            boundary_tolerance_px=args.boundary,
            calibration=args.calibration,
            temporal=args.temporal,
            on_frame=on_frame,
            progress=progress.update,
        )
        device = segmenter.device
        overlay_problem = overlays and overlays.close()
    content = as_dict(evaluation, device, _command())
    verdicts = [] if gate is None else judge(gate[0], content, gate[1])
    write_report(args.out, content, evaluation)
    write_page(args.out / "report.html", content, evaluation, worst.by_criterion(), verdicts)
    print(f"{args.weights} on {', '.join(map(str, args.bags))}\n\n{table(evaluation.report)}\n")
    for source in evaluation.sources:
        print(_source_line(source))
    print(f"report: {args.out}")
    evaluation.check_labels()
    failed = gate is not None and _fails(verdicts, args.out / "junit.xml", "lsabinet bag evaluate")
    if overlay_problem:
        raise BagError(overlay_problem)
    return FAILED if failed else _status(evaluation.lost)


def _evaluate_fleet(args: argparse.Namespace, gate: tuple[list, dict | None] | None) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.files import write_text
    from lsabinet_ros.bag.fleet import evaluate_fleet, merge, merged_markdown
    from lsabinet_ros.bag.gate import judge

    started = time.perf_counter()
    with Progress("bags", len(args.bags)) as progress:
        results = evaluate_fleet(
            args.bags,
            args.out,
            _worker_options(args),
            workers=args.workers,
            resume=args.resume,
            progress=progress.update,
        )
    content = merge(results, _command(), time.perf_counter() - started)
    _write_json(args.out / "report.json", content)
    write_text(args.out / "report.md", merged_markdown(content))
    failed = [result for result in results if not result.done]
    for result in failed:
        print(f"lsabinet: warning: {result.bag}: {result.message}", file=sys.stderr)
    miou = "-" if content["miou"] is None else f"{100 * content['miou']:.2f} %"
    print(
        f"{len(results) - len(failed)} of {len(results)} bags, {content['frames']} frames, "
        f"{content['labelled_frames']} with a label: mIoU {miou}\nreport: {args.out}"
    )
    verdicts = [] if gate is None else judge(gate[0], content, gate[1])
    missed = gate is not None and _fails(verdicts, args.out / "junit.xml", "lsabinet bag evaluate")
    if failed:
        raise BagError(
            f"{len(failed)} of {len(results)} bags could not be evaluated: {failed[0].bag}: {failed[0].message}"
        )
    return FAILED if missed else _status(content["lost"])


def _worker_options(args: argparse.Namespace) -> list[str]:
    """The options of this command for one bag. The processes share the cores, unless --threads says otherwise."""
    from lsabinet_core.cores import usable_cores

    size = None if args.input_size is None else "x".join(map(str, args.input_size))
    values = {
        "--image-topic": args.image_topic,
        "--label-topic": args.label_topic,
        "--labels": args.labels,
        "--slop": args.slop,
        "--limit": args.limit,
        "--boundary": args.boundary,
        "--weights": args.weights,
        "--device": args.device,
        "--precision": args.precision,
        "--backend": args.backend,
        "--input-size": size,
        "--threads": args.threads or max(1, usable_cores() // args.workers),
    }
    options = [flag for flag in ("overlays", "calibration", "temporal") if getattr(args, flag)]
    found = [f"--{flag}" for flag in options]
    for name, value in values.items():
        if value is not None:
            found += [name, *(map(str, value) if isinstance(value, list) else [str(value)])]
    return found


def run_compare(args: argparse.Namespace) -> int:
    from lsabinet_ros.bag.gate import judge, parse_limit, read_limits, read_report

    limits = [] if args.gate is None else read_limits(args.gate)
    for name, value in (("miou.max_drop", args.max_miou_drop), ("latency.p99.max_increase", args.max_p99_increase)):
        if value is not None:
            limits.append(parse_limit(name, value))
    if not limits:
        raise BagError("nothing to compare: give --max-miou-drop, --max-p99-increase or --gate")
    baseline, report = read_report(args.baseline), read_report(args.report)
    verdicts = judge(limits, report, baseline)
    return FAILED if _fails(verdicts, args.junit, "lsabinet bag compare") else 0


def _open_gate(gate: Path | None, baseline: Path | None) -> tuple[list, dict | None] | None:
    """Limits and baseline report; None without a gate."""
    from lsabinet_ros.bag.gate import read_limits, read_report

    if gate is None:
        if baseline is not None:
            raise BagError("--baseline needs limits: give --gate as well")
        return None
    limits = read_limits(gate)
    changes = [limit.name for limit in limits if limit.needs_baseline]
    if changes and baseline is None:
        raise BagError(f"{changes[0]} in {gate} needs a report to compare with: give --baseline")
    return limits, None if baseline is None else read_report(baseline)


def _fails(verdicts: list, junit: Path | None, suite: str) -> bool:
    """Print the verdicts, write them to ``junit``, and return whether a limit is not kept."""
    from lsabinet_ros.bag.gate import verdict_table, write_junit

    print(f"\n{verdict_table(verdicts).text()}")
    if junit is not None:
        write_junit(junit, verdicts, suite)
    return not all(verdict.kept for verdict in verdicts)


def _command() -> list[str]:
    return ["lsabinet", *sys.argv[1:]]


def _open_topics(args: argparse.Namespace, stack: contextlib.ExitStack) -> list[tuple]:
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


def _frame_sources(
    args: argparse.Namespace, topics: list[tuple], label_set: "LabelSet", on_skip: Callable[[str], None]
) -> list:
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


def _source_line(source: "FrameSource") -> str:
    """One line on the frames of a source and what became of its labels."""
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


def _status(lost: list[str]) -> int:
    return INCOMPLETE if lost else 0


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
    """Convert seconds since 1970 to nanoseconds exactly; a header stamp has 31 bits for the seconds."""
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
        raise argparse.ArgumentTypeError(f"expected a number of seconds of at least 0, got {text!r}")
    return seconds


def _remapping(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(":=")
    if not (separator and old and new):
        raise BagError(f"expected a remapping such as /camera/image_raw:=/front/image_raw, got {text!r}")
    return old, new
