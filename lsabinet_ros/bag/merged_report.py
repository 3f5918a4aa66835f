"""Merge the reports on several bags into one."""

import csv
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

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
from lsabinet_ros.bag.report import SCHEMA_VERSION, STAGES, agreement_lines, as_consistency

_ORIGIN = ("weights", "architecture", "trained_on", "backend", "precision", "device", "threads")


def merge(results: Sequence[BagResult], command: Sequence[str], seconds: float) -> dict:
    """The reports of several bags as one, with the fields of ``report.json`` that can be merged, and ``per_bag``.

    The metrics are those of the summed confusion matrices, the latencies those of all frames. Calibration is merged bin
    by bin; the boundary F-score of a class is the mean over all its images.

    Raises:
        BagError: no bag has a report, or the reports are of different classes.
    """
    reports = [(result, read_report(result.folder)) for result in results if result.done]
    miou_of = {result.bag: report["miou"] for result, report in reports}
    if not reports:
        raise BagError(f"no bag could be evaluated, the first: {results[0].bag}: {results[0].message}")
    first = reports[0][1]
    names = tuple(first["per_class_iou"])
    if any(tuple(report["per_class_iou"]) != names for _, report in reports):
        raise BagError("the reports cannot be merged: their classes differ")
    confusion = _summed([report for _, report in reports])
    sources: list[dict] = []
    blocks: list[dict] = []
    for _, report in reports:
        blocks += [{**block, "source": block["source"] + len(sources)} for block in report["blocks"]]
        sources += report["sources"]
    label_set = LabelSet(first["label_set"], names, ((0, 0, 0),) * len(names))
    images = sum(report["labelled_frames"] for _, report in reports)
    frames = sum(report["frames"] for _, report in reports)
    details = {key: first[key] for key in _ORIGIN if key in first}
    details["bags"] = [bag for _, report in reports for bag in report["bags"]]
    merged = Report(label_set, confusion, images, _latencies(result.folder for result, _ in reports), details)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        **merged.to_dict(),
        **_merged_boundaries([report for _, report in reports]),
        **_merged_calibration([report for _, report in reports]),
        **_merged_consistency([report for _, report in reports]),
        **_merged_agreement(reports, label_set),
        "frames": frames,
        "labelled_frames": images,
        "skipped_frames": sum(report["skipped_frames"] for _, report in reports),
        "lost": [loss for _, report in reports for loss in report["lost"]],
        "sources": sources,
        "over_time": _merged_over_time([report for _, report in reports]),
        "blocks": blocks,
        "throughput": {"seconds": seconds, "frames_per_s": frames / seconds},
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


def _latencies(folders: Iterable[Path], prefix: str = "") -> dict[str, dict]:
    """The latencies of all frames, from the columns of ``frames.csv`` whose names start with ``prefix``."""
    stages: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "total")}
    for folder in folders:
        with open(folder / "frames.csv", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                values = [float(row[f"{prefix}{stage}_ms"]) for stage in STAGES]
                for stage, value in zip(stages, [*values, sum(values)]):
                    stages[stage].append(value)
    return summarise_stages(stages)


def _weighted(pairs: Sequence[tuple[float | None, float]]) -> float | None:
    """Weighted mean of the values that are known; None without any."""
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
    return {"calibration": {**measured[0], "ece": _weighted(gaps), "bins": bins}}


def _merged_consistency(reports: Sequence[dict]) -> dict:
    measured = [report["temporal_consistency"] for report in reports if "temporal_consistency" in report]
    return as_consistency(_summed(measured)) if measured else {}


def _merged_agreement(reports: Sequence[tuple[BagResult, dict]], label_set: LabelSet) -> dict:
    measured = [(result, report) for result, report in reports if "agreement" in report]
    if not measured:
        return {}
    agreements = [report["agreement"] for _, report in measured]
    seconds = [report["against"] for _, report in measured]
    total = Agreement(
        _summed(agreements),
        _summed(seconds),
        frames=sum(agreement["frames"] for agreement in agreements),
        identical=sum(agreement["identical_frames"] for agreement in agreements),
    )
    latencies = _latencies((result.folder for result, _ in measured), "against_")
    details = {key: seconds[0][key] for key in _ORIGIN if key in seconds[0]}
    images = sum(second["images"] for second in seconds)
    against = Report(label_set, total.labels, images, latencies, details)
    return {"agreement": total.to_dict(label_set), "against": against.to_dict()}


def _summed(parts: Sequence[dict]) -> ConfusionMatrix:
    """The sum of the field ``confusion_matrix`` of all parts."""
    matrices = [np.asarray(part["confusion_matrix"], dtype=np.int64) for part in parts]
    total = ConfusionMatrix(len(matrices[0]))
    total.matrix += sum(matrices)
    return total


def merged_markdown(content: dict) -> str:
    """The merged report as GitHub Markdown: a row per bag with a link to its page, a row per class, the latency."""
    bags = [
        [
            entry["bag"],
            percent(entry["miou"]) if entry["miou"] is not None else "-",
            entry["message"] or ("damaged" if entry["status"] else "whole"),
            f"[report](bags/{Path(entry['folder']).name}/report.html)" if entry["status"] in (0, 3) else "-",
        ]
        for entry in content["per_bag"]
    ]
    classes = [
        [name, "-" if iou is None else percent(iou), str(content["per_class_support"][name])]
        for name, iou in content["per_class_iou"].items()
    ]
    miou = "-" if content["miou"] is None else f"{percent(content['miou'])} %"
    return "\n".join(
        [
            f"# {Path(content['weights']).name} on {len(bags)} bags",
            "",
            f"{content['frames']} frames, {content['labelled_frames']} with a label: mIoU {miou}",
            "",
            markdown_table(["bag", "mIoU %", "state", "report"], bags, ("bag", "state", "report")),
            "",
            markdown_table(["class", "IoU %", "pixels"], classes, ("class",)),
            "",
            *(f"{line}.\n" for line in agreement_lines(content)),
            *("```text", latency_table(content["latency_ms"]), "```", ""),
        ]
    )
