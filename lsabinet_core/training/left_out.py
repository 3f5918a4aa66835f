"""Leave-one-sequence-out over train + val: one run per sequence, trained on all others and validated on that one.

A validation split may come from a sequence that is in the training split as well, as CamVid's does. The mean over the
sequences estimates what a recipe achieves on a sequence that the network has never seen.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lsabinet_core.data.listed import drive_fold
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.text_table import Table, mean, number, percent

from .recipe import Recipe
from .run_history import read_history
from .sweep import PlannedRun

COLUMNS = {
    "sequence left out": lambda row: row["run"],
    "images": lambda row: str(row["images"] or "-"),
    "val mIoU %": lambda row: percent(row["val_miou"]),
    "iterations": lambda row: str(row["iterations"] or "-"),
    "seconds": lambda row: number(row["seconds"], 0),
    "state": lambda row: row["state"],
}


def left_out_runs(recipe: Recipe, dataset: str, sequences: Sequence[str]) -> list[PlannedRun]:
    """One run for each sequence that is left out, with the name of that sequence."""
    return [PlannedRun(sequence, recipe, dataset, *drive_fold(sequence)) for sequence in sequences]


def left_out_table(folder: Path, runs: Sequence[dict]) -> Table:
    """``run_rows`` with the number of images and the IoU of each class, from the last validation of each finished run.

    The table's facts: ``complete``; ``val_miou``, the mean over the sequences; ``pooled_miou`` and
    ``pooled_per_class_iou``, computed from the sum of their confusion matrices, so that every pixel has the same weight
    and classes that are missing in a sequence count. None where undefined.
    """
    rows, pooled, names = [], None, ()
    for run in runs:
        finished = run["state"] == "finished"
        report = read_history(folder / run["run"]).validations[-1]["val"] if finished else {}
        if finished:
            matrix, names = np.array(report["confusion_matrix"], np.int64), tuple(report["per_class_iou"])
            pooled = pooled or ConfusionMatrix(len(matrix))
            pooled.matrix += matrix
        rows.append({**run, "images": report.get("images"), "per_class_iou": report.get("per_class_iou")})
    ious = [] if pooled is None else pooled.iou_per_class
    facts = {
        "complete": all(run["state"] == "finished" for run in runs),
        "val_miou": mean(run["val_miou"] for run in runs),
        "pooled_miou": None if pooled is None else _defined(pooled.miou),
        "pooled_per_class_iou": {name: _defined(iou) for name, iou in zip(names, ious, strict=True)},
    }
    notes = [
        f"val mIoU {percent(facts['val_miou'])} %, mean over the finished sequences; {percent(facts['pooled_miou'])} % "
        "over all their pixels."
    ]
    return Table(rows, COLUMNS, words=("sequence left out", "state"), notes=notes, facts=facts)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
