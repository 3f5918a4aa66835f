"""``lsabinet bag compare``: compare two reports, and fail if the second is worse."""

import argparse
from pathlib import Path

from lsabinet_core.errors import BagError
from lsabinet_ros.bag.cli.results import gate_fails
from lsabinet_ros.bag.settings import FAILED

HELP = "compare two reports of `bag evaluate`, and fail if the second is worse"


def add_arguments(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    from lsabinet_ros.bag.gate import judge, parse_limit, read_limits, read_report

    limits = [] if args.gate is None else read_limits(args.gate)
    for name, value in (("miou.max_drop", args.max_miou_drop), ("latency.p99.max_increase", args.max_p99_increase)):
        if value is not None:
            limits.append(parse_limit(name, value))
    if not limits:
        raise BagError("nothing to compare: give --max-miou-drop, --max-p99-increase or --gate")
    baseline, report = read_report(args.baseline), read_report(args.report)
    verdicts = judge(limits, report, baseline)
    return FAILED if gate_fails(verdicts, args.junit, "lsabinet bag compare") else 0
