"""Limits on reports and on comparisons of two: passed, failed, within chance, or not measured."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from bag_cases import run_cli, samples, write

from lsabinet_ros.bag.gate import judge, parse_limit, read_limits, read_report, value_of
from lsabinet_ros.bag.report import SCHEMA_VERSION

NAMES = ("Road", "Car")


def iou(matrix):
    hits = np.diag(matrix)
    return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def report_of(blocks, p99=20.0, **others):
    """A report whose confusion matrix is the sum of its blocks'."""
    total = np.sum(blocks, axis=0)
    return {
        "schema_version": SCHEMA_VERSION,
        "miou": float(iou(total).mean()),
        "pixel_accuracy": float(np.trace(total) / total.sum()),
        "per_class_iou": dict(zip(NAMES, map(float, iou(total)))),
        "latency_ms": {"total": {"p50": 10.0, "p95": 15.0, "p99": p99, "max": 30.0, "mean": 11.0}},
        "over_time": {"flicker": 0.015, "confidence": None},
        "sources": [{"bag": "drives/a.mcap", "image_topic": "/image"}],
        "blocks": [{"source": 0, "frames": 10, "confusion_matrix": block} for block in map(np.ndarray.tolist, blocks)],
        **others,
    }


def blocks_with(error_rates, pixels=1000):
    return [np.array([[pixels, 0], [round(pixels * rate), round(pixels * (1 - rate))]]) for rate in error_rates]


GOOD = blocks_with([0.1, 0.12, 0.08, 0.11, 0.09] * 4)


def write_report(path, report):
    path.write_text(json.dumps(report))
    return path


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("miou.min", 80, True),
        ("miou.min", 95, False),
        ("class.Car.iou.min", 85, True),
        ("class.Car.iou.min", 91, False),
        ("latency.p99.max", 20, True),
        ("latency.total.p95.max", 14.9, False),
        ("latency.max.max", 30, True),
        ("latency.max.max", 29.9, False),
        ("flicker.max", 1.5, True),
        ("flicker.max", 1.4, False),
        ("boundary_f.min", 0, False),
    ],
)
def test_absolute_limits(name, value, kept):
    (verdict,) = judge([parse_limit(name, value)], report_of(GOOD))
    assert verdict.kept == kept
    assert bool(verdict.reason) != kept


def test_values_are_in_percent_and_milliseconds():
    report = report_of(GOOD)
    assert value_of(report, "class.Car.iou") == pytest.approx(90.0)
    assert value_of(report, "latency.p99") == 20.0
    assert value_of(report, "confidence") is None


def test_the_interval_holds_the_true_value_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        report = report_of(blocks_with(rng.uniform(0.05, 0.25, 40)))
        (verdict,) = judge([parse_limit("class.Car.iou.min", 1)], report)
        low, high = verdict.interval
        hits += low <= 85 <= high
    assert hits >= 52  # 57 of 60 are expected


def test_a_drop_beyond_the_limit_fails_and_one_by_chance_does_not():
    baseline = report_of(GOOD)
    limit = [parse_limit("miou.max_drop", 0.5)]
    (same,) = judge(limit, baseline, baseline)
    assert same.kept
    assert same.interval == (0.0, 0.0)
    # Every block is worse.
    (worse,) = judge(limit, report_of(blocks_with([0.14, 0.16, 0.12, 0.15, 0.13] * 4)), baseline)
    assert not worse.kept
    assert worse.interval[1] < 0
    # One block of twenty is much worse, the others are not.
    by_chance = [*GOOD[:-1], *blocks_with([0.5])]
    (noise,) = judge(limit, report_of(by_chance), baseline)
    assert noise.baseline - noise.value > 0.5
    assert noise.kept
    (better,) = judge(limit, baseline, report_of(by_chance))
    assert better.kept


def test_increases_absolute_and_relative():
    baseline, slower = report_of(GOOD), report_of(GOOD, p99=21.9)
    for value, kept in ((1.5, False), (2, True), ("9%", False), ("10%", True)):
        (verdict,) = judge([parse_limit("latency.p99.max_increase", value)], slower, baseline)
        assert verdict.kept == kept


def test_compare_command(tmp_path, capsys):
    baseline = write_report(tmp_path / "a.json", report_of(GOOD))
    worse = write_report(tmp_path / "b.json", report_of(blocks_with([0.3] * 20), p99=21.0))
    options = ("--max-miou-drop", "0.5", "--max-p99-increase", "10%", "--junit", tmp_path / "junit.xml")
    assert run_cli("compare", baseline, baseline, *options) == 0
    assert run_cli("compare", baseline, worse, *options) == 4
    assert "FAILED" in capsys.readouterr().out
    (suite,) = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failures = {case.get("name"): case.find("failure") is not None for case in suite}
    assert failures == {"miou.max_drop": True, "latency.p99.max_increase": False}


def test_gate_of_an_evaluation(tmp_path, weights, capsys):
    path = write(tmp_path / "drive.mcap", samples(2))
    options = ("--weights", weights, "--backend", "torch", "--out", tmp_path / "out")
    gate = tmp_path / "gate.yaml"
    gate.write_text("miou.max: 100\nclass:\n  Pedestrian:\n    iou.max: 100\n")
    assert run_cli("evaluate", path, *options, "--gate", gate) == 0
    gate.write_text("miou.min: 99.9\n")
    assert run_cli("evaluate", path, *options, "--gate", gate) == 4
    assert "miou.min" in capsys.readouterr().out
    (suite,) = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert suite.get("failures") == "1"
    (verdict,) = read_report(tmp_path / "out")["gate"]
    assert (verdict["limit"], verdict["allowed"], verdict["kept"]) == ("miou.min", "99.9", False)
    assert verdict["value"] == pytest.approx(100 * read_report(tmp_path / "out")["miou"])
    assert "| miou.min | 99.9 |" in (tmp_path / "out" / "report.md").read_text()
    gate.write_text("miou.max_drop: 0\nlatency.p99.max_increase: 1000000%\n")
    assert run_cli("evaluate", path, *options, "--gate", gate, "--baseline", tmp_path / "out") == 0
    assert read_report(tmp_path / "out")["frames"] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("miou: 3", "METRIC.min"),
        ("miou.least: 3", "METRIC.min"),
        ("speed.min: 3", "unknown metric 'speed'"),
        ("latency.p98.max: 3", "unknown metric"),
        ("miou.min: high", "number"),
        ("miou.min: 10%", "number"),
        ("- miou", "miou.min: 60"),
        ("a: [b", "YAML"),
    ],
)
def test_invalid_gates(tmp_path, text, words, error_of):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    assert words in error_of(read_limits, path)


def test_reports_that_cannot_be_compared(tmp_path, error_of):
    baseline = write_report(tmp_path / "a.json", report_of(GOOD))
    other = report_of(GOOD)
    other["per_class_iou"] = {"Sky": 0.5, "Tree": 0.5}
    other = write_report(tmp_path / "b.json", other)
    assert "classes differ" in error_of(run_cli, "compare", baseline, other, "--max-miou-drop", 1)
    assert "--max-miou-drop" in error_of(run_cli, "compare", baseline, baseline)
    (tmp_path / "old.json").write_text("{}")
    assert f"version {SCHEMA_VERSION}" in error_of(read_report, tmp_path / "old.json")
    (tmp_path / "text.json").write_text("text")
    assert "not JSON" in error_of(read_report, tmp_path / "text.json")
    gate = tmp_path / "gate.yaml"
    gate.write_text("class.Bus.iou.min: 3")
    assert "'Bus'" in error_of(run_cli, "compare", baseline, baseline, "--gate", gate)


def test_reports_are_read_and_merged_without_pytorch():
    program = "import sys, lsabinet_ros.bag.gate, lsabinet_ros.bag.fleet, lsabinet_ros.bag.page; "
    assert subprocess.run([sys.executable, "-c", program + "sys.exit('torch' in sys.modules)"]).returncode == 0
