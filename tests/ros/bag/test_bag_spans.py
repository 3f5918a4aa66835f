"""``lsabinet bag evaluate --spans``: the metrics of parts of a drive."""

import csv
import json
from fractions import Fraction

import numpy as np
import pytest
from bag_cases import START_NS, run_cli, samples, write

from lsabinet_core.evaluation.temporal import TemporalConsistency
from lsabinet_core.inference import Segmenter
from lsabinet_ros.bag.gate import check_spans, judge, parse_limit, value_of
from lsabinet_ros.bag.spans import Span, read_spans, spans_at

RATE = Fraction(4)


@pytest.fixture
def spans(tmp_path):
    """A file of spans; frame i is at 0.25 i s."""

    def make(*entries):
        lines = [f"- {{name: {name}, from: {begin}, to: {end}}}\n" for name, begin, end in entries]
        (tmp_path / "spans.yaml").write_text("".join(lines))
        return tmp_path / "spans.yaml"

    return make


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def matrix_of(frames, masks):
    found = np.zeros((11, 11), np.int64)
    for frame, mask in zip(frames, masks, strict=True):
        if frame.label is not None:
            known = frame.label != 255
            np.add.at(found, (frame.label[known], mask[known]), 1)
    return found


def iou_of(matrix):
    hits = np.diag(matrix)
    return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def test_metrics_of_the_frames_in_each_span(tmp_path, weights, spans, capsys):
    frames = samples(8, labelled=lambda index: index != 3)
    path = write(tmp_path / "drive.mcap", frames, rate=RATE)
    # "night" is frames 0, 1, 6 and 7; its end is not in it. "tunnel" overlaps it and is given in seconds since 1970.
    tunnel = [f"{(START_NS + i * 250_000_000) // 10**9}.{(START_NS + i * 250_000_000) % 10**9:09d}" for i in (1, 4)]
    file = spans(("night", 0, 0.5), ("night", 1.5, 99), ("tunnel", *tunnel), ("snow", 50, 60))
    gate = tmp_path / "gate.yaml"
    gate.write_text("span.night.miou.min: 0\nspan.tunnel.class.Road.iou.max: 100\nspan.snow.miou.min: 0\n")
    options = ("--weights", weights, "--device", "cpu", "--backend", "torch", "--out", tmp_path / "out")
    metrics = ("--temporal", "--against", "precision=fp32", "--gate", gate)
    assert run_cli("evaluate", path, *options, "--spans", file, *metrics) == 4
    report = report_of(tmp_path / "out")
    with Segmenter.from_pretrained(weights, device="cpu", backend="torch") as segmenter:
        masks = [segmenter.segment(frame.image).mask for frame in frames]
    for name, inside, labelled in (("night", [0, 1, 6, 7], 4), ("tunnel", [1, 2, 3], 2)):
        span = report["spans"][name]
        expected = matrix_of([frames[i] for i in inside], [masks[i] for i in inside])
        assert span["confusion_matrix"] == expected.tolist()
        assert span["miou"] == pytest.approx(iou_of(expected).mean())
        assert list(span["per_class_iou"].values()) == pytest.approx(iou_of(expected).tolist())
        assert (span["frames"], span["labelled_frames"]) == (len(inside), labelled)
        flicker = [np.mean(masks[i] != masks[i - 1]) for i in inside if i]
        assert span["over_time"]["flicker"] == pytest.approx(np.mean(flicker))
        consistency = np.zeros((11, 11), np.int64)
        for index in inside:
            tracker = TemporalConsistency(11)
            for i in range(max(index - 1, 0), index + 1):
                tracker.update(frames[i].image, masks[i])
            consistency += tracker.confusion.matrix
        assert span["temporal_consistency"]["confusion_matrix"] == consistency.tolist()
        assert span["agreement"]["identical_frames"] == span["latency_ms"]["total"]["count"] == len(inside)
        assert span["against"]["confusion_matrix"] == expected.tolist()
        assert value_of(report, f"span.{name}.miou") == pytest.approx(100 * span["miou"])
    # Blocks do not cross the border of a span.
    assert [(block["spans"], block["frames"]) for block in report["blocks"]] == [
        (["night"], 1),
        (["night", "tunnel"], 1),
        (["tunnel"], 1),
        ([], 2),
        (["night"], 2),
    ]
    assert report["spans"]["snow"]["frames"] == 0
    assert report["spans"]["snow"]["miou"] is None
    assert "'snow'" in capsys.readouterr().err
    with (tmp_path / "out" / "frames.csv").open(newline="") as stream:
        column = [row["spans"] for row in csv.DictReader(stream)]
    assert column == ["night", "night;tunnel", "tunnel", "tunnel", "", "", "night", "night"]
    assert "| tunnel |" in (tmp_path / "out" / "report.md").read_text()
    assert 'id="spans"' in (tmp_path / "out" / "report.html").read_text()


def test_a_limit_on_an_unknown_span(tmp_path, weights, spans, error_of):
    path = write(tmp_path / "drive.mcap", samples(1))
    gate = tmp_path / "gate.yaml"
    gate.write_text("span.nihgt.miou.min: 3")
    options = ("--weights", weights, "--out", tmp_path / "out", "--spans", spans(("night", 0, 1)), "--gate", gate)
    message = error_of(run_cli, "evaluate", path, *options)
    assert "'nihgt'" in message
    assert "night" in message
    assert "not measured for spans" in error_of(parse_limit, "span.night.ece.max", 3)
    check_spans([parse_limit("span.night.miou.min", 3), parse_limit("miou.min", 3)], ["night"])


def test_intervals_of_a_span_are_from_its_own_blocks():
    """Masks that are right by day and wrong at night: each span is certain, and the whole drive is not."""
    good, bad = np.diag([100, 100]), np.array([[0, 100], [100, 0]])
    blocks = [
        {"source": 0, "frames": 10, "spans": [name], "confusion_matrix": matrix.tolist()}
        for name, matrix in [("day", good), ("night", bad)] * 8
    ]
    metrics = {"miou": 0.5, "per_class_iou": {"Road": 0.5, "Car": 0.5}}
    report = {
        **metrics,
        "sources": [{"bag": "a", "image_topic": "/i"}],
        "blocks": blocks,
        "spans": {"day": {**metrics, "miou": 1.0}, "night": {**metrics, "miou": 0.0}},
    }
    limits = [parse_limit(f"{prefix}miou.max", 100) for prefix in ("", "span.day.", "span.night.")]
    whole, day, night = judge(limits, report)
    assert (day.interval, night.interval) == ((100.0, 100.0), (0.0, 0.0))
    assert whole.interval[0] < 50 < whole.interval[1]


def test_spans_are_half_open_and_in_either_time():
    spans = [Span("a", 0, 10), Span("b", 10, 20), Span("a", 15, 17), Span("c", 10**18 + 5, 10**18 + 15)]
    assert spans_at(spans, 10**18, 10**18) == ("a",)
    assert spans_at(spans, 10**18 + 10, 10**18) == ("b", "c")
    assert spans_at(spans, 10**18 + 16, 10**18) == ("b", "a")
    assert spans_at(spans, 10**18 + 20, 10**18) == ()


def test_times_are_exact(spans):
    (span,) = read_spans(spans(("no", "1700000000.123456789", "1700000000.123456790")))
    assert span == Span("no", 1_700_000_000_123_456_789, 1_700_000_000_123_456_790)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("night: [0, 1]", ["list", "name: night"]),
        ("[]", ["list"]),
        ("- {name: night, from: 0}", ["span 1", "to"]),
        ("- {name: a, from: 0, to: 1}\n- {name: a.b, from: 0, to: 1}", ["span 2", "'a.b'"]),
        ("- {name: a, from: 3, to: 3}", ["later", "3"]),
        ("- {name: a, from: soon, to: 3}", ["from", "'soon'"]),
        ("- {name: a, from: 0, to: inf}", ["to", "'inf'"]),
        ("- {name: a, from: 0, to: 1700000000}", ["both"]),
        ("- {name: a, from: -1, to: 3}", ["at least 0"]),
        ("- night", ["span 1", "'night'"]),
        ("a: [b", ["YAML"]),
    ],
)
def test_invalid_spans(tmp_path, text, words, error_of):
    path = tmp_path / "spans.yaml"
    path.write_text(text)
    message = error_of(read_spans, path)
    assert [word for word in words if word not in message] == []
    assert str(path) in message
    assert str(tmp_path / "none.yaml") in error_of(read_spans, tmp_path / "none.yaml")
