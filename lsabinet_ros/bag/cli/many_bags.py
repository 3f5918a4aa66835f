"""``lsabinet bag evaluate`` with ``--workers`` or ``--ray``: many bags at a time."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.cli.results import gate_fails, show_spans, status_for, write_json
from lsabinet_ros.bag.settings import FAILED

if TYPE_CHECKING:
    from lsabinet_ros.bag.fleet import LocalWorkers
    from lsabinet_ros.bag.gate import Verdict
    from lsabinet_ros.bag.ray_workers import RayWorkers


def run(args: argparse.Namespace, gate: tuple[list, dict | None] | None, command: list[str]) -> int:
    from lsabinet_core.cli.progress import Progress
    from lsabinet_core.files import write_text
    from lsabinet_ros.bag.fleet import evaluate_fleet
    from lsabinet_ros.bag.gate import judge
    from lsabinet_ros.bag.merged_report import merge, merged_markdown
    from lsabinet_ros.bag.page import write_merged_page

    started = time.perf_counter()
    with _open_workers(args) as workers, Progress("bags", len(args.bags)) as progress:
        results = evaluate_fleet(
            args.bags,
            args.out,
            _worker_options(args),
            workers=workers,
            resume=args.resume,
            progress=progress.update,
        )
    content = merge(results, command, time.perf_counter() - started)

    def write(verdicts: "Sequence[Verdict]" = ()) -> None:
        write_json(args.out / "report.json", content)
        write_text(args.out / "report.md", merged_markdown(content))
        write_merged_page(args.out / "report.html", content, verdicts)

    # Already here, because a limit may be on a class that the weights do not have.
    write()
    failed = [result for result in results if not result.done]
    for result in failed:
        print(f"lsabinet: warning: {result.bag}: {result.message}", file=sys.stderr)
    miou = "-" if content["miou"] is None else f"{100 * content['miou']:.2f} %"
    print(
        f"{len(results) - len(failed)} of {len(results)} bags, {content['frames']} frames, "
        f"{content['labelled_frames']} with a label: mIoU {miou}\nreport: {args.out}"
    )
    show_spans(content)
    missed = False
    if gate is not None:
        verdicts = judge(gate[0], content, gate[1])
        content["gate"] = [verdict.to_dict() for verdict in verdicts]
        write(verdicts)
        missed = gate_fails(verdicts, args.out / "junit.xml", "lsabinet bag evaluate")
    if failed:
        raise BagError(
            f"{len(failed)} of {len(results)} bags could not be evaluated: {failed[0].bag}: {failed[0].message}"
        )
    return FAILED if missed else status_for(content["lost"])


def _open_workers(args: argparse.Namespace) -> "LocalWorkers | RayWorkers":
    if args.ray is None:
        from lsabinet_ros.bag.fleet import LocalWorkers

        return LocalWorkers(args.workers)
    from lsabinet_ros.bag.ray_workers import RayWorkers

    return RayWorkers(args.ray, cores=_threads(args), gpu=args.device.startswith("cuda"))


def _threads(args: argparse.Namespace) -> int:
    """CPU threads for one bag. Processes on this machine share its cores; those on a cluster get one core each."""
    from lsabinet_core.cores import usable_cores

    return args.threads or (1 if args.workers is None else max(1, usable_cores() // args.workers))


def _worker_options(args: argparse.Namespace) -> list[str]:
    """The options of this command for one bag."""
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
        "--against": args.against,
        "--spans": args.spans,
        "--threads": _threads(args),
    }
    flags = ("--overlays", "--out-bag", "--calibration", "--temporal")
    found = [flag for flag in flags if getattr(args, flag.removeprefix("--").replace("-", "_"))]
    for name, value in values.items():
        if value is not None:
            found += [name, *(map(str, value) if isinstance(value, list) else [str(value)])]
    return found
