"""Limits on what a live replay has shown."""

import json

import pytest

from lsabinet_ros.bag.cli.results import open_gate
from lsabinet_ros.bag.gate import parse_limit
from lsabinet_ros.bag.replay_gate import check_metric, judge_replay, read_replay
from lsabinet_ros.bag.replay_report import SCHEMA_VERSION


def report_of(answered=0.96, p99=30.0, agreement=1.0):
    return {
        "schema_version": SCHEMA_VERSION,
        "replay": {
            "answered": answered,
            "publish_to_mask_ms": {"p50": 20.0, "p95": 25.0, "p99": p99, "max": 40.0, "mean": 21.0},
            "mask_jitter_ms": None,
        },
        "agreement": None if agreement is None else {"pixel_agreement": agreement},
        "highest_rate_hz": 12.5,
    }


@pytest.mark.parametrize(
    ("name", "limit", "kept"),
    [
        ("answered.min", 96, True),
        ("answered.min", 96.1, False),
        ("publish_to_mask.p99.max", 30, True),
        ("publish_to_mask.max.max", 39, False),
        ("pixel_agreement.min", 100, True),
        ("highest_rate_hz.min", 13, False),
        # A value that was not measured fails its limit.
        ("mask_jitter.max", 5, False),
    ],
)
def test_absolute_limits(name, limit, kept):
    (verdict,) = judge_replay([parse_limit(name, limit, check_metric)], report_of())
    assert verdict.kept == kept
    assert bool(verdict.reason) != kept


def test_limits_on_changes():
    limits = [
        parse_limit("answered.max_drop", 1, check_metric),
        parse_limit("publish_to_mask.p99.max_increase", "10%", check_metric),
        parse_limit("pixel_agreement.max_drop", 0, check_metric),
    ]
    verdicts = judge_replay(limits, report_of(answered=0.955, p99=34.0), report_of(agreement=None))
    assert [verdict.kept for verdict in verdicts] == [True, False, False]
    assert "baseline" in verdicts[2].reason


def test_a_gate_is_read_before_the_replay(tmp_path, error_of):
    gate, baseline = tmp_path / "gate.yaml", tmp_path / "replay.json"
    gate.write_text("answered.min: 95\nanswered.max_drop: 1\n")
    assert "--baseline" in error_of(open_gate, gate, None, replay=True)
    baseline.write_text(json.dumps(report_of()))
    limits, before = open_gate(gate, tmp_path, replay=True)
    assert [limit.name for limit in limits] == ["answered.min", "answered.max_drop"]
    assert before == report_of()
    # Metrics that only `bag evaluate` measures.
    gate.write_text("miou.min: 60\n")
    assert "'miou' of a replay" in error_of(open_gate, gate, None, replay=True)
    for text in ("{}", '{"schema_version": 1}', "[]"):
        baseline.write_text(text)
        assert f"version {SCHEMA_VERSION}" in error_of(read_replay, baseline)
    baseline.write_text("no")
    assert "not JSON" in error_of(read_replay, baseline)
    assert "cannot read" in error_of(read_replay, tmp_path / "none.json")
