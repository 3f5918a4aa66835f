"""Evaluate many bags in several processes, one bag each, and merge their reports."""

import csv
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsabinet_core.errors import BagError
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.evaluation.latency import latency_table, summarise_stages
from lsabinet_core.evaluation.report import Report
from lsabinet_core.files import read_text, write_text
from lsabinet_core.labels import LabelSet
from lsabinet_core.text_table import markdown_table, percent
from lsabinet_ros.bag.folder import is_storage_file
from lsabinet_ros.bag.gate import read_report
from lsabinet_ros.bag.report import SCHEMA_VERSION, as_consistency

ATTEMPTS = 2
"""How often a bag is tried whose process is killed, for example for lack of memory."""
POLL_S = 0.1
_STAGES = ("preprocess", "inference", "postprocess")


@dataclass(frozen=True)
class BagResult:
    """What became of one bag.

    Attributes:
        bag: path of the bag.
        folder: folder of its report.
        status: exit status of its process; negative for the signal that killed it.
        message: last line of its log if it failed; empty otherwise.
    """

    bag: Path
    folder: Path
    status: int
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether there is a report: of the whole bag, or of its readable part."""
        return self.status in (0, 3)


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """Replace each folder that holds bags by these, at any depth; a bag is taken as it is.

    Raises:
        BagError: a folder without any bag.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir() or _is_bag(path):
            found.append(path)
            continue
        inside = sorted(_bags_in(path))
        if not inside:
            raise BagError(f"no bag in {path}: expected rosbag2 folders, .mcap, .db3 or .bag files")
        found += inside
    return list(dict.fromkeys(found))


def _is_bag(folder: Path) -> bool:
    """Whether a folder is one rosbag2 rather than a folder of bags: also without metadata.yaml, by its files' names."""
    if (folder / "metadata.yaml").is_file():
        return True
    files = [file for file in folder.iterdir() if is_storage_file(file)]
    return bool(files) and all(re.fullmatch(rf"{re.escape(folder.name)}(_\d+)?\..*", file.name) for file in files)


def _bags_in(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from [entry] if _is_bag(entry) else _bags_in(entry)
        elif is_storage_file(entry) or entry.suffix == ".bag":
            yield entry


def evaluate_fleet(
    bags: Sequence[Path],
    out: Path,
    options: Sequence[str],
    *,
    workers: int,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[BagResult]:
    """Run ``lsabinet bag evaluate`` for each bag, in ``workers`` processes at a time.

    The report of a bag is in ``out/bags/NAME``, with the file ``done.json`` when it is finished. A bag whose process
    was killed is tried again.

    Args:
        bags: the bags.
        out: folder of the reports.
        options: options of ``lsabinet bag evaluate`` but for ``--out``.
        resume: whether to skip bags that are finished, with these options.
        progress: called with the number of bags done and in all.
    """
    results: dict[Path, BagResult] = {}
    waiting: list[tuple[Path, int]] = []
    for bag in bags:
        finished = _finished(bag, _folder_of(bag, out), options) if resume else None
        if finished is None:
            waiting.append((bag, 1))
        else:
            results[bag] = finished
    running: list[_Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                bag, attempt = waiting.pop(0)
                running.append(_Worker(bag, _folder_of(bag, out), options, attempt))
            for worker in [worker for worker in running if worker.ended]:
                running.remove(worker)
                result = worker.result()
                if result.status < 0 and worker.attempt < ATTEMPTS:
                    waiting.append((worker.bag, worker.attempt + 1))
                    continue
                results[worker.bag] = result
                _note(result, options)
                if progress is not None:
                    progress(len(results), len(bags))
            if running:
                time.sleep(POLL_S)
    finally:
        for worker in running:
            worker.kill()
    return [results[bag] for bag in bags]


class _Worker:
    """The process that evaluates one bag."""

    def __init__(self, bag: Path, folder: Path, options: Sequence[str], attempt: int):
        self.bag, self.attempt = bag, attempt
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "done.json").unlink(missing_ok=True)
        self._log = folder / "log.txt"
        command = [
            sys.executable,
            "-m",
            "lsabinet_core.cli",
            "bag",
            "evaluate",
            str(bag),
            "--out",
            str(folder),
            *options,
        ]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def result(self) -> BagResult:
        status = self._process.returncode
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        failed = status not in (0, 3)
        message = lines[-1].removeprefix("lsabinet: error: ") if failed and lines else ""
        if status < 0:
            message = f"its process was killed by signal {-status}, {self.attempt} times"
        return BagResult(self.bag, self._folder, status, message)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _folder_of(bag: Path, out: Path) -> Path:
    """Folder for the report of a bag: its name, and a part of its path's hash, because names occur more than once."""
    digest = hashlib.sha256(os.fsencode(bag.resolve())).hexdigest()[:8]
    return out / "bags" / f"{bag.name}-{digest}"


def _state_of(bag: Path, options: Sequence[str]) -> dict:
    files = sorted(file for file in bag.rglob("*") if file.is_file()) if bag.is_dir() else [bag]
    stats = [file.stat() for file in files if file.exists()]
    return {"options": list(options), "files": [[stat.st_size, stat.st_mtime_ns] for stat in stats]}


def _note(result: BagResult, options: Sequence[str]) -> None:
    if result.done:
        content = {"status": result.status, **_state_of(result.bag, options)}
        write_text(result.folder / "done.json", json.dumps(content) + "\n")


def _finished(bag: Path, folder: Path, options: Sequence[str]) -> BagResult | None:
    """The result of an earlier run with the same options on the same files."""
    try:
        content = json.loads(read_text(folder / "done.json"))
        read_report(folder)
        state = _state_of(bag, options)
        same = {key: content[key] for key in state} == state
        return BagResult(bag, folder, content["status"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, BagError):
        return None


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
    mean_confidence = _weighted([(part["confidence"], part["count"]) for part in bins])
    return {"calibration": {**measured[0], "ece": _weighted(gaps), "mean_confidence": mean_confidence, "bins": bins}}


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
