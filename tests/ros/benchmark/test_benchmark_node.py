"""``lsabinet benchmark node``: the figures of recorded times, and one real run with tiny frames."""

import argparse
import json

import pytest

from lsabinet_core.errors import LsabinetError
from lsabinet_ros.benchmark import cli, measure
from lsabinet_ros.benchmark.measure import Times
from lsabinet_ros.benchmark.report import as_text


def test_the_overhead_is_what_the_segmenter_does_not_explain():
    stages = {"wait": 1.0, "decode": 2.0, "preprocess": 3.0, "inference": 40.0, "postprocess": 5.0, "publish": 1.5}
    times = Times(published_s=10.0, compressed=False)
    assert not times.complete
    times.mask_s, times.stages = 10.06, stages
    assert times.complete
    assert times.total_ms == pytest.approx(60.0)
    assert times.segmenter_ms == pytest.approx(48.0)
    assert times.overhead_ms == pytest.approx(12.0)


def test_without_rclpy_it_says_so(monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LsabinetError, match="rclpy is not available"):
        cli.run(argparse.Namespace())


def test_what_is_printed_is_what_was_measured(ros_domain, weights_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "IDLE_S", 0.2)
    monkeypatch.setattr(measure, "PAUSE_S", 0.2)
    monkeypatch.setattr(measure, "ROUND", 4)
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    out = tmp_path / "figures.json"
    words = ["--sizes", "64x96", "--frames", "8", "--rate", "20", "--weights", str(weights_file), "--backend", "torch"]
    assert cli.run(parser.parse_args([*words, "--json", str(out)])) == 0
    printed = capsys.readouterr().out
    figures = json.loads(out.read_text())
    assert printed == as_text(figures) + "\n"

    (row,) = figures["rows"]
    assert (row["size"], row["backend"], row["sent"]) == ([64, 96], "torch", 8)
    assert 1 <= row["answered"] <= 8
    assert row["total_ms"] > row["segmenter_ms"] > 0
    assert row["overhead_p99_ms"] >= row["overhead_ms"] > 0
    assert row["compressed_after_raw_ms"] is not None
    assert 0 <= row["idle_cores"] < 2
    (line,) = [line for line in printed.splitlines() if line.startswith("64x96")]
    assert line.split()[:4] == ["64x96", "torch", row["precision"], f"{row['answered']}/8"]
    assert [camera["camera"] for camera in figures["cameras"]] == list(measure.CAMERAS)
    assert all(1 <= camera["answered"] <= camera["sent"] == 4 for camera in figures["cameras"])
