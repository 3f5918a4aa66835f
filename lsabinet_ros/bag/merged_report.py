"""Merge the reports on several bags into one."""

import csv
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import latency_table, summarise_stages
from lsabinet_core.evaluation.report import Report
from lsabinet_core.labels import LabelSet
from lsabinet_core.text_table import markdown_table, percent
from lsabinet_ros.bag.agreement import Agreement
from lsabinet_ros.bag.fleet import BagResult
from lsabinet_ros.bag.gate import read_report
from lsabinet_ros.bag.report import (
    SCHEMA_VERSION,
    SPAN_SEPARATOR,
    STAGES,
    agreement_lines,
    as_consistency,
    gate_table,
    spans_table,
)

_ORIGIN = ("weights", "architecture", "trained_on", "backend", "precision", "device", "threads")


def merge(results: Sequence[BagResult], command: Sequence[str], seconds: float) -> dict:
    """The reports of several bags as one, with the fields of ``report.json`` that can be merged, and ``per_bag``.

    The metrics are those of the summed confusion matrices, the latencies those of all frames. Calibration is merged bin
    by bin; the boundary F-score of a class is the mean over all its images.

    Raises:
        BagError: no bag has a report, or the reports have different classes.
    """
    done = [result for result in results if result.done]
    if not done:
        raise BagError(f"no bag could be evaluated, the first: {results[0].bag}: {results[0].message}")
    reports = [read_report(result.folder) for result in done]
    miou_of = {result.bag: report["miou"] for result, report in zip(done, reports)}
    first = reports[0]
    names = tuple(first["per_class_iou"])
    if any(tuple(report["per_class_iou"]) != names for report in reports):
        raise BagError("the reports cannot be merged: their classes differ")
    sources: list[dict] = []
    blocks: list[dict] = []
    for report in reports:
        blocks += [{**block, "source": block["source"] + len(sources)} for block in report["blocks"]]
        sources += report["sources"]
    label_set = LabelSet(first["label_set"], names, ((0, 0, 0),) * len(names))
    times = _FrameTimes(result.folder for result in done)
    details = {key: first[key] for key in _ORIGIN if key in first}
    details["bags"] = [bag for report in reports for bag in report["bags"]]
    metrics = _merged_metrics(reports, label_set, times, "", details)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        **metrics,
        **_merged_boundaries(reports),
        **_merged_calibration(reports),
        **_merged_spans(reports, label_set, times),
        "skipped_frames": sum(report["skipped_frames"] for report in reports),
        "lost": [loss for report in reports for loss in report["lost"]],
        "sources": sources,
        "blocks": blocks,
        "throughput": {"seconds": seconds, "frames_per_s": metrics["frames"] / seconds},
        "environment": first["environment"],
        "per_bag": [
            {
                **{key: str(value) for key, value in dataclasses.asdict(result).items() if key != "status"},
                "status": result.status,
                "miou": miou_of.get(result.bag),
            }
            for result in results
        ],
    }


class _FrameTimes:
    """The durations in the ``frames.csv`` of several reports.

    Args:
        folders: the folders of the reports.
    """

    def __init__(self, folders: Iterable[Path]):
        self._ms: dict[tuple[str, str], dict[str, list[float]]] = {}
        for folder in folders:
            with open(folder / "frames.csv", encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    self._add(row)

    def _add(self, row: dict[str, str]) -> None:
        for prefix in ("", "against_"):
            if f"{prefix}{STAGES[0]}_ms" not in row:
                continue
            values = [float(row[f"{prefix}{stage}_ms"]) for stage in STAGES]
            for span in ("", *filter(None, row.get("spans", "").split(SPAN_SEPARATOR))):
                for stage, value in zip((*STAGES, "total"), [*values, sum(values)]):
                    self._ms.setdefault((prefix, span), {}).setdefault(stage, []).append(value)

    def summary(self, span: str, prefix: str = "") -> dict[str, dict]:
        """The field ``latency_ms`` for the frames in a span, or for all frames if ``span`` is empty.

        Args:
            prefix: ``against_`` for the second segmenter.
        """
        found = self._ms.get((prefix, span), {})
        return summarise_stages({stage: found.get(stage, []) for stage in (*STAGES, "total")})


def _merged_metrics(
    parts: Sequence[dict], label_set: LabelSet, times: _FrameTimes, span: str, details: dict | None = None
) -> dict:
    """The metrics of several reports as one, or of their parts in a span."""
    labelled = sum(part["labelled_frames"] for part in parts)
    return {
        **Report(label_set, _summed(parts), labelled, times.summary(span), details or {}).to_dict(),
        **_merged_consistency(parts),
        **_merged_agreement(parts, label_set, times, span),
        "frames": sum(part["frames"] for part in parts),
        "labelled_frames": labelled,
        "over_time": _merged_over_time(parts),
    }


def _merged_spans(reports: Sequence[dict], label_set: LabelSet, times: _FrameTimes) -> dict:
    if "spans" not in reports[0]:
        return {}
    return {
        "spans": {
            name: {
                "ranges_ns": span["ranges_ns"],
                **_merged_metrics([report["spans"][name] for report in reports], label_set, times, name),
            }
            for name, span in reports[0]["spans"].items()
        }
    }


def _weighted(pairs: Sequence[tuple[float | None, float]]) -> float | None:
    """Weighted mean of the known values; None if there are none."""
    known = [(value, weight) for value, weight in pairs if value is not None and weight]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _merged_over_time(reports: Sequence[dict]) -> dict:
    def mean(pick: Callable[[dict], float | None]) -> float | None:
        return _weighted([(pick(report["over_time"]), report["frames"]) for report in reports])

    return {
        "flicker": mean(lambda means: means["flicker"]),
        "confidence": mean(lambda means: means["confidence"]),
        "class_share": {
            name: mean(lambda means, name=name: means["class_share"][name])
            for name in reports[0]["over_time"]["class_share"]
        },
    }


def _merged_boundaries(reports: Sequence[dict]) -> dict:
    measured = [report["boundary_f"] for report in reports if "boundary_f" in report]
    if not measured:
        return {}
    names = measured[0]["per_class"]
    per_class = {
        name: _weighted([(part["per_class"][name], part["per_class_images"][name]) for part in measured])
        for name in names
    }
    known = [score for score in per_class.values() if score is not None]
    return {
        "boundary_f": {
            "tolerance_px": measured[0]["tolerance_px"],
            "mean": float(np.mean(known)) if known else None,
            "per_class": per_class,
            "per_class_images": {name: sum(part["per_class_images"][name] for part in measured) for name in names},
        }
    }


def _merged_calibration(reports: Sequence[dict]) -> dict:
    measured = [report["calibration"] for report in reports if "calibration" in report]
    if not measured:
        return {}
    bins = []
    for parts in zip(*(calibration["bins"] for calibration in measured), strict=True):
        merged = {key: _weighted([(part[key], part["count"]) for part in parts]) for key in ("confidence", "accuracy")}
        bins.append({**parts[0], "count": sum(part["count"] for part in parts), **merged})
    gaps = [(abs(part["accuracy"] - part["confidence"]), part["count"]) for part in bins if part["count"]]
    mean_confidence = _weighted([(part["confidence"], part["count"]) for part in bins])
    return {"calibration": {**measured[0], "ece": _weighted(gaps), "mean_confidence": mean_confidence, "bins": bins}}


def _merged_consistency(reports: Sequence[dict]) -> dict:
    measured = [report["temporal_consistency"] for report in reports if "temporal_consistency" in report]
    return as_consistency(_summed(measured)) if measured else {}


def _merged_agreement(parts: Sequence[dict], label_set: LabelSet, times: _FrameTimes, span: str) -> dict:
    if "agreement" not in parts[0]:
        return {}
    agreements = [part["agreement"] for part in parts]
    seconds = [part["against"] for part in parts]
    total = Agreement(
        _summed(agreements),
        _summed(seconds),
        frames=sum(agreement["frames"] for agreement in agreements),
        labelled=sum(second["images"] for second in seconds),
        identical=sum(agreement["identical_frames"] for agreement in agreements),
    )
    details = {key: seconds[0][key] for key in _ORIGIN if key in seconds[0]}
    against = Report(label_set, total.labels, total.labelled, times.summary(span, "against_"), details)
    return {"agreement": total.to_dict(label_set), "against": against.to_dict()}


def _summed(parts: Sequence[dict]) -> ConfusionMatrix:
    """The sum of the field ``confusion_matrix`` of all parts."""
    matrices = [np.asarray(part["confusion_matrix"], dtype=np.int64) for part in parts]
    total = ConfusionMatrix(len(matrices[0]))
    total.matrix += sum(matrices)
    return total


def page_of(entry: dict) -> str | None:
    """The address of a bag's page in the folder of the merged report; None if the bag has no report.

    Args:
        entry: the bag's entry in ``per_bag``.
    """
    return f"bags/{quote(Path(entry['folder']).name)}/report.html" if entry["status"] in (0, 3) else None


def merged_markdown(content: dict) -> str:
    """The merged report as GitHub Markdown: a row per bag with a link to its page, a row per class, the latency."""
    bags = [
        [
            entry["bag"],
            percent(entry["miou"]) if entry["miou"] is not None else "-",
            entry["message"] or ("damaged" if entry["status"] else "whole"),
            f"[report]({page})" if (page := page_of(entry)) else "-",
        ]
        for entry in content["per_bag"]
    ]
    classes = [
        [name, "-" if iou is None else percent(iou), str(content["per_class_support"][name])]
        for name, iou in content["per_class_iou"].items()
    ]
    miou = "-" if content["miou"] is None else f"{percent(content['miou'])} %"
    spans = spans_table(content)
    return "\n".join(
        [
            f"# {Path(content['weights']).name} on {len(bags)} bags",
            "",
            f"{content['frames']} frames, {content['labelled_frames']} with a label: mIoU {miou}",
            "",
            *([gate_table(content["gate"]).markdown()] if "gate" in content else []),
            markdown_table(["bag", "mIoU %", "state", "report"], bags, ("bag", "state", "report")),
            "",
            markdown_table(["class", "IoU %", "pixels"], classes, ("class",)),
            "",
            *(f"{line}.\n" for line in agreement_lines(content)),
            *([] if spans is None else [spans.markdown()]),
            *("```text", latency_table(content["latency_ms"]), "```", ""),
        ]
    )
