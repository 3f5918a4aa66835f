"""Text formats of a report: plain table, Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Callable

from lsabinet_core.evaluation.latency import latency_table
from lsabinet_core.evaluation.origin import describe_origin
from lsabinet_core.evaluation.report import Report
from lsabinet_core.text_table import UNDEFINED, markdown_table, percent


def table(report: Report, *, by_class_confusion: bool = False) -> str:
    """Format a report as a plain-text table: one line per class, the means and the latency; fractions in percent.

    Args:
        report: the report.
        by_class_confusion: whether to append the row-normalised confusion matrix.
    """
    header, rows = _class_rows(report)
    figures = _figures(report)
    width = max(len(cell) for cell in [*(row[0] for row in rows), *(name for name, *_ in figures)])
    widths = [width, *(max(7, *(len(row[i]) for row in [header, *rows])) for i in range(1, len(header)))]

    def line(cells: list[str]) -> str:
        return "  ".join([cells[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:]))])

    lines = [line(header), *map(line, rows), ""]
    for name, value, remark in figures:
        lines.append(f"{name:<{width}}  {value:>7}{remark and f'  ({remark})'}")
    if report.latency_ms:
        lines += ["", latency_table(report.latency_ms)]
    if by_class_confusion:
        lines += ["", _confusion_table(report)]
    return "\n".join(lines)


def markdown(report: Report) -> str:
    """Format a report as GitHub Markdown: origin, one row per class, one row per metric, confusion matrix."""
    header, rows = _class_rows(report)
    origin = describe_origin(report.details)
    lines = [
        *([f"{origin}:", ""] if origin else []),
        markdown_table(header, rows, header[:1]),
        "",
        markdown_table(["figure", "value", ""], _figures(report), ("figure", "")),
        "",
    ]
    # Its columns are aligned with spaces.
    return "\n".join([*lines, "```text", _confusion_table(report), "```"])


def comma_separated(report: Report) -> str:
    """Format a report as CSV in long form, ``figure,class,value``; fractions in 0..1, empty if undefined.

    The class is empty for metrics of the whole data set. A confusion matrix entry is ``confusion,TRUE>PREDICTED``, a
    latency ``latency_ms,STAGE p50``. The origin and the scalar entries of ``details`` follow the means.
    """
    figures = report.to_dict()
    names = report.label_set.names
    rows: list[tuple[str, str, object]] = [
        (key, "", figures[key])
        for key in ("miou", "miou_paper_rule", "pixel_accuracy", "mean_class_accuracy", "images")
    ]
    rows += [("origin", "", origin) for origin in [describe_origin(report.details)] if origin]
    rows += [(key, "", value) for key, value in report.details.items() if not isinstance(value, (list, dict))]
    for key in ("iou", "accuracy", "precision", "support"):
        rows += [(key, name, value) for name, value in figures[f"per_class_{key}"].items()]
    if "boundary_f" in figures:
        rows.append(("boundary_f_mean", "", figures["boundary_f"]["mean"]))
        rows += [("boundary_f", name, value) for name, value in figures["boundary_f"]["per_class"].items()]
    if "calibration" in figures:
        rows += [(key, "", figures["calibration"][key]) for key in ("ece", "mean_confidence")]
    for stage, latency in report.latency_ms.items():
        rows += [("latency_ms", f"{stage} {key}", value) for key, value in latency.items()]
    for true, counts in zip(names, figures["confusion_matrix"], strict=True):
        rows += [("confusion", f"{true}>{predicted}", count) for predicted, count in zip(names, counts, strict=True)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("figure", "class", "value"))
    # The writer prints None as nothing and floats with all digits.
    writer.writerows(rows)
    return stream.getvalue().rstrip("\n")


def as_json(report: Report) -> str:
    """``report.to_dict()``, indented."""
    return json.dumps(report.to_dict(), indent=2, allow_nan=False)


FORMATS: dict[str, Callable[[Report], str]] = {
    "table": lambda report: table(report, by_class_confusion=True),
    "json": as_json,
    "csv": comma_separated,
    "markdown": markdown,
}
"""Formatter for each value of ``lsabinet evaluate --format``."""


def _class_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the header and one row of cells per class."""
    confusion = report.confusion
    support = confusion.support
    total = max(int(support.sum()), 1)
    columns = [
        ("class", report.label_set.names),
        ("IoU %", map(percent, confusion.iou_per_class)),
        ("acc. %", map(percent, confusion.accuracy_per_class)),
        ("prec. %", map(percent, confusion.precision_per_class)),
        ("pixels", (f"{count:,}" for count in support)),
        ("share %", (f"{100 * count / total:.2f}" for count in support)),
    ]
    if report.boundaries is not None:
        columns.insert(4, ("bound. F %", map(percent, report.boundaries.per_class)))
    header = [name for name, _ in columns]
    return header, [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]


def _figures(report: Report) -> list[tuple[str, str, str]]:
    """Return (name, value, remark) of every scalar metric."""
    confusion = report.confusion
    figures = [
        ("mIoU", percent(confusion.miou), ""),
        ("mIoU (paper)", percent(confusion.miou_paper_rule), "without classes never hit"),
        ("pixel accuracy", percent(confusion.pixel_accuracy), ""),
        ("class accuracy", percent(confusion.mean_class_accuracy), "mean over the classes"),
    ]
    if report.boundaries is not None:
        figures.append(("boundary F", percent(report.boundaries.mean), f"within {report.boundaries.tolerance_px} px"))
    if report.calibration is not None:
        bins = report.calibration.bins()
        figures.append(("ECE", percent(bins.ece), f"{len(bins.counts)} bins, confidences in steps of 1/255"))
        figures.append(("mean confidence", percent(bins.mean_confidence), "of the predicted classes"))
    return [*figures, ("images", str(report.images), "")]


def _confusion_table(report: Report) -> str:
    """Format the row-normalised matrix in whole percent; columns are numbered, because 19 names do not fit."""
    names = report.label_set.names
    width = max(map(len, names)) + 4
    lines = ["confusion: true classes in rows, predicted in columns, % of the row"]
    lines.append(" " * width + "".join(f"{index:>5}" for index in range(len(names))))
    for index, (name, row) in enumerate(zip(names, report.confusion.normalised, strict=True)):
        cells = "".join(f"{UNDEFINED:>5}" if math.isnan(share) else f"{100 * share:5.0f}" for share in row)
        lines.append(f"{index:>2} {name}".ljust(width) + cells)
    return "\n".join(lines)
