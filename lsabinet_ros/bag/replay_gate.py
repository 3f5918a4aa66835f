"""Limits on a live replay, which decide whether a node may be deployed.

The limits and verdicts are those of ``gate``, on metrics of ``replay.json``. docs/bags.md lists them.
"""

from collections.abc import Sequence
from pathlib import Path

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.latency import STATISTICS
from lsabinet_ros.bag.gate import Limit, Verdict, read_report, verdict_on
from lsabinet_ros.bag.replay_report import SCHEMA_VERSION

# Names of metrics, their place in replay.json and the factor to percent or milliseconds.
_METRICS = {
    "answered": (("replay", "answered"), 100),
    "frames_answered": (("replay", "frames_answered"), 1),
    "masks_hz": (("replay", "masks_hz"), 1),
    "mask_jitter": (("replay", "mask_jitter_ms"), 1),
    "duplicate_masks": (("replay", "duplicate_masks"), 1),
    "pixel_agreement": (("agreement", "pixel_agreement"), 100),
    "highest_rate_hz": (("highest_rate_hz",), 1),
    **{f"publish_to_mask.{name}": (("replay", "publish_to_mask_ms", name), 1) for name in STATISTICS},
}


def check_metric(metric: str) -> None:
    """Raise BagError for the name of an unknown metric."""
    if metric not in _METRICS:
        raise BagError(f"unknown metric {metric!r} of a replay: expected one of {', '.join(_METRICS)}")


def read_replay(path: Path) -> dict:
    """Read a ``replay.json``, given by its path or its folder.

    Raises:
        BagError: no such file, or not a report of this version.
    """
    content = read_report(path, verb="replay", name="replay.json", expected=SCHEMA_VERSION)
    # The reports of other verbs have a version as well.
    if "replay" not in content:
        raise BagError(
            f"expected a report of `lsabinet bag replay` of version {SCHEMA_VERSION}, got one without `replay`: {path}"
        )
    return content


def judge_replay(limits: Sequence[Limit], report: dict, baseline: dict | None = None) -> list[Verdict]:
    """Check every limit on ``replay.json``; a limit on a metric that was not measured fails.

    Raises:
        BagError: an unknown metric.
    """
    return [
        verdict_on(
            limit,
            _value_of(report, limit.metric),
            _value_of(baseline or {}, limit.metric) if limit.needs_baseline else None,
        )
        for limit in limits
    ]


def _value_of(report: dict, metric: str) -> float | None:
    check_metric(metric)
    path, factor = _METRICS[metric]
    value: object = report
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return factor * float(value) if isinstance(value, int | float) else None
