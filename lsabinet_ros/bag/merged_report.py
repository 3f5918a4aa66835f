"""Merge the reports on several bags into one."""

import csv
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import latency_table, summarise_stages
from lsabinet_core.evaluation.report import Report
from lsabinet_core.labels import LabelSet
from lsabinet_core.text_table import markdown_table, percent
from lsabinet_ros.bag.fleet import BagResult
from lsabinet_ros.bag.gate import read_report
from lsabinet_ros.bag.report import SCHEMA_VERSION, as_consistency

_STAGES = ("preprocess", "inference", "postprocess")


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
    confusion = ConfusionMatrix(len(names))
    sources: list[dict] = []
    blocks: list[dict] = []
    for _, report in reports:
        confusion.matrix += np.asarray(report["confusion_matrix"], dtype=np.int64)
        blocks += [{**block, "source": block["source"] + len(sources)} for block in report["blocks"]]
        sources += report["sources"]
    label_set = LabelSet(first["label_set"], names, ((0, 0, 0),) * len(names))
    images = sum(report["labelled_frames"] for _, report in reports)
    frames = sum(report["frames"] for _, report in reports)
    origin = ("weights", "architecture", "trained_on", "backend", "precision", "device", "threads")
    details = {key: first[key] for key in origin if key in first}
    details["bags"] = [bag for _, report in reports for bag in report["bags"]]
    merged = Report(label_set, confusion, images, _latencies(result.folder for result, _ in reports), details)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        **merged.to_dict(),
        **_merged_boundaries([report for _, report in reports]),
        **_merged_calibration([report for _, report in reports]),
        **_merged_consistency([report for _, report in reports]),
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


def _latencies(folders: Iterator[Path]) -> dict[str, dict]:
    stages: dict[str, list[float]] = {stage: [] for stage in (*_STAGES, "total")}
    for folder in folders:
        with open(folder / "frames.csv", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                values = [float(row[f"{stage}_ms"]) for stage in _STAGES]
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
    matrices = [
        np.asarray(report["temporal_consistency"]["confusion_matrix"], dtype=np.int64)
        for report in reports
        if "temporal_consistency" in report
    ]
    if not matrices:
        return {}
    total = ConfusionMatrix(len(matrices[0]))
    total.matrix += sum(matrices)
    return as_consistency(total)


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
            *("```text", latency_table(content["latency_ms"]), "```", ""),
        ]
    )
