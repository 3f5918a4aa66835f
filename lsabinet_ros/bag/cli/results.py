"""Results of the verbs: exit status, JSON file, verdicts of a gate."""

import argparse
import json
import sys
from pathlib import Path

from lsabinet_core.errors import BagError
from lsabinet_core.files import write_text
from lsabinet_ros.bag.settings import INCOMPLETE


def status_for(lost: list[str]) -> int:
    """The exit status, given the descriptions of what could not be read from a bag."""
    return INCOMPLETE if lost else 0


def write_json(path: Path | None, content: dict) -> None:
    """Write ``content`` to ``path``, if there is one."""
    if path is not None:
        write_text(path, json.dumps(content, indent=2) + "\n")


def open_gate(gate: Path | None, baseline: Path | None, *, replay: bool = False) -> tuple[list, dict | None] | None:
    """Limits and baseline report, of `bag evaluate` or `bag replay`; None without a gate."""
    from lsabinet_ros.bag.gate import read_limits, read_report
    from lsabinet_ros.bag.replay_gate import check_metric, read_replay

    if gate is None:
        if baseline is not None:
            raise BagError("--baseline needs limits: give --gate as well")
        return None
    limits = read_limits(gate, check_metric if replay else None)
    changes = [limit.name for limit in limits if limit.needs_baseline]
    if changes and baseline is None:
        raise BagError(f"{changes[0]} in {gate} needs a report to compare with: give --baseline")
    return limits, None if baseline is None else (read_replay if replay else read_report)(baseline)


def add_gate_arguments(parser: argparse.ArgumentParser, example: str, report: str) -> None:
    """Add ``--gate`` and ``--baseline``.

    Args:
        example: a limit, such as ``miou.min: 60``.
        report: file name of a baseline.
    """
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="YAML",
        help=f"limits such as `{example}`; exit with status 4 if one is violated, and write DIR/junit.xml",
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="REPORT", help=f"{report} to which limits on changes (max_drop) refer"
    )


def gate_fails(verdicts: list, junit: Path | None, suite: str) -> bool:
    """Print the verdicts, write them to ``junit``, and return whether a limit is violated."""
    from lsabinet_ros.bag.gate import write_junit
    from lsabinet_ros.bag.report import gate_table

    print(f"\n{gate_table([verdict.to_dict() for verdict in verdicts]).text()}")
    if junit is not None:
        write_junit(junit, verdicts, suite)
    return not all(verdict.kept for verdict in verdicts)


def show_spans(content: dict) -> None:
    """Print the spans of a report, if it has any, and warn of those without frames."""
    from lsabinet_ros.bag.report import empty_spans, spans_table

    table = spans_table(content)
    if table is not None:
        print(f"{table.text()}\n")
    for name in empty_spans(content):
        print(f"lsabinet: warning: no frame is in the span {name!r}", file=sys.stderr)
