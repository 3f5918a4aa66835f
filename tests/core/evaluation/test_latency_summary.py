"""Percentiles of latencies."""

import json

import pytest

from lsabinet_core.evaluation.latency import latency_table, summarise_latency, summarise_stages, summarise_timings
from lsabinet_core.inference import Timings


def test_percentiles_of_0_to_100():
    summary = summarise_latency(float(value) for value in reversed(range(101)))
    assert summary == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0, "mean": 50.0, "count": 101}


def test_interpolates_between_samples():
    assert summarise_latency([10, 20])["p95"] == pytest.approx(19.5)


def test_no_sample_is_valid_json():
    summary = summarise_latency([])
    assert summary == {"p50": None, "p95": None, "p99": None, "max": None, "mean": None, "count": 0}
    assert "-" in latency_table({"wait": summary})
    json.dumps(summary, allow_nan=False)


def test_stages_keep_their_order():
    stages = summarise_stages({"wait": [1.0], "decode": [2.0, 4.0]})
    assert list(stages) == ["wait", "decode"]
    assert stages["decode"]["mean"] == 3.0
    table = latency_table(stages)
    assert [line.split()[0] for line in table.splitlines()] == ["stage", "wait", "decode"]


def test_timings_with_their_total():
    stages = summarise_timings([Timings(1, 10, 100), Timings(3, 30, 300)])
    assert {stage: summary["mean"] for stage, summary in stages.items()} == {
        "preprocess": 2,
        "inference": 20,
        "postprocess": 200,
        "total": 222,
    }
