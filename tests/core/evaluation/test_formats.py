"""A report as table, Markdown, CSV and JSON."""

import csv
import io
import json

import numpy as np
import pytest

from lsabinet_core.cli import evaluate as verb
from lsabinet_core.cli import segmenter_options
from lsabinet_core.evaluation import BoundaryScore, Calibration, ConfusionMatrix, Report
from lsabinet_core.evaluation.boundaries import DEFAULT_TOLERANCE_PX
from lsabinet_core.evaluation.formats import FORMATS, table
from lsabinet_core.labels import LabelSet

LABELS = LabelSet("four", ("road", "sky", "car", "traffic light"), ((0, 0, 0),) * 4)


@pytest.fixture
def report():
    """A report in which 3 of 4 road pixels, all sky pixels and no car pixels are correct, and class 3 is absent."""
    label = np.array([[0, 0, 0, 0, 1, 1, 2, 255]] * 4, np.uint8)
    prediction = np.array([[0, 0, 0, 1, 1, 1, 1, 3]] * 4, np.uint8)
    confusion, boundaries, calibration = ConfusionMatrix(4), BoundaryScore(4, 0), Calibration()
    confusion.update(prediction, label)
    boundaries.update(prediction, label)
    calibration.update(prediction, np.full(label.shape, 204, np.uint8), label)
    return Report(LABELS, confusion, 1, {}, {"dataset": "made"}, boundaries, calibration)


def test_json_contains_every_metric(report):
    figures = json.loads(FORMATS["json"](report))
    assert figures["miou"] == pytest.approx((3 / 4 + 2 / 4 + 0) / 3)
    assert figures["miou_paper_rule"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert figures["pixel_accuracy"] == pytest.approx(5 / 7)
    assert figures["mean_class_accuracy"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert figures["per_class_accuracy"] == {"road": 0.75, "sky": 1, "car": 0, "traffic light": None}
    assert figures["per_class_precision"] == {"road": 1, "sky": 0.5, "car": None, "traffic light": None}
    assert figures["per_class_support"] == {"road": 16, "sky": 8, "car": 4, "traffic light": 0}
    assert figures["confusion_matrix"][0] == [12, 4, 0, 0]
    assert figures["confusion_normalised"] == [[0.75, 0.25, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [None] * 4]
    assert figures["boundary_f"]["tolerance_px"] == 0
    # Edge columns (predicted, true): road (2, 3), sky (3 and 6, 4 and 5), car (none, 6). None of them coincide.
    assert figures["boundary_f"]["per_class"] == {"road": 0, "sky": 0, "car": 0, "traffic light": None}
    assert figures["boundary_f"]["per_class_images"] == {"road": 1, "sky": 1, "car": 1, "traffic light": 0}
    assert figures["calibration"]["ece"] == pytest.approx(204 / 255 - 5 / 7)
    assert figures["calibration"]["mean_confidence"] == pytest.approx(204 / 255)
    bins = figures["calibration"]["bins"]
    assert len(bins) == 15
    assert sum(one["count"] for one in bins) == 28
    assert bins[12] == {
        "lower": 0.8,
        "upper": pytest.approx(13 / 15),
        "count": 28,
        "confidence": 0.8,
        "accuracy": pytest.approx(5 / 7),
    }
    assert bins[0]["accuracy"] is None


def test_csv_contains_the_same_numbers(report):
    figures = report.to_dict()
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](report))))
    values = {(row["figure"], row["class"]): row["value"] for row in rows}
    assert len(values) == len(rows)
    assert float(values["miou", ""]) == figures["miou"]
    assert float(values["miou_paper_rule", ""]) == figures["miou_paper_rule"]
    assert float(values["mean_class_accuracy", ""]) == figures["mean_class_accuracy"]
    assert float(values["ece", ""]) == figures["calibration"]["ece"]
    assert float(values["mean_confidence", ""]) == figures["calibration"]["mean_confidence"]
    assert values["iou", "traffic light"] == ""
    assert float(values["iou", "road"]) == 0.75
    assert int(values["support", "car"]) == 4
    assert float(values["boundary_f_mean", ""]) == 0
    assert int(values["confusion", "road>sky"]) == 4


def test_table(report):
    lines = FORMATS["table"](report).splitlines()
    [road] = [line for line in lines if line.startswith("road")]
    assert road.split() == ["road", "75.00", "75.00", "100.00", "0.00", "16", "57.14"]
    assert lines[0].split("  ")[0] == "class"
    assert {len(line) for line in lines[:5]} == {len(lines[0])}
    [miou] = [line for line in lines if line.startswith("mIoU  ")]
    assert miou.split() == ["mIoU", "41.67"]
    assert any(line.startswith("ECE") and "8.57" in line for line in lines)
    assert lines[-4].split() == ["0", "road", "75", "25", "0", "0"]
    assert lines[-1].split() == ["3", "traffic", "light", "-", "-", "-", "-"]
    # The short form, used inside other reports, is the beginning of the long form.
    assert FORMATS["table"](report).startswith(table(report))
    assert "confusion" not in table(report)


def test_markdown(report):
    first, second, confusion = (block.splitlines() for block in FORMATS["markdown"](report).split("\n\n"))
    for block in (first, second):
        assert len({line.count("|") for line in block}) == 1
        assert set(block[1]) <= set("|-: ")
    assert first[2] == "| road | 75.00 | 75.00 | 100.00 | 0.00 | 16 | 57.14 |"
    assert "| mIoU | 41.67 |  |" in second
    assert confusion[0] == "```text"
    assert confusion[-1] == "```"
    assert confusion[1:-1] == FORMATS["table"](report).splitlines()[-len(confusion) + 2 :]


def test_metrics_that_were_not_measured_are_absent(report):
    plain = Report(LABELS, report.confusion, 1)
    assert not {"boundary_f", "calibration"} & set(plain.to_dict())
    for text in (form(plain) for form in FORMATS.values()):
        assert "bound" not in text.lower()
        assert "ECE" not in text


def test_nothing_labelled(report):
    for form in FORMATS.values():
        assert form(Report(LABELS, ConfusionMatrix(4), 0, {}, {}, BoundaryScore(4), Calibration()))


def test_the_verb_offers_all_formats():
    assert tuple(FORMATS) == verb.FORMATS
    assert segmenter_options.DEFAULT_TOLERANCE_PX == DEFAULT_TOLERANCE_PX
