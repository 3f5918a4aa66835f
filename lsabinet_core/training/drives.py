"""Leave-one-drive-out over train + val: one run for each drive, trained on all others and validated on it.

A val split may be of a drive that is in train too, as CamVid's is; the mean over the drives tells what a recipe is
worth on a drive that the network has never seen.

OUT/0001TP OUT/0006R0 ...   an ordinary run each
OUT/drives.json             figures of the finished ones
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lsabinet_core.data import open_dataset
from lsabinet_core.data.listed import drive_fold
from lsabinet_core.evaluation.confusion import ConfusionMatrix
from lsabinet_core.files import write_text

from .campaign import PlannedRun, carry_out_all
from .recipe import Recipe
from .run_history import read_history
from .trainer import Observer


def train_drives(
    recipe: Recipe,
    dataset: str,
    root: str | Path,
    out: str | Path,
    *,
    device: torch.device,
    workers: int | None = None,
    observer: Observer = lambda event: None,
    deadline: float | None = None,
) -> dict:
    """Train the folds one after the other; finished ones are passed over, a begun one goes on from its checkpoint.

    Args:
        recipe: of every fold.
        dataset: ``camvid`` or ``folder``.
        root: its folder.
        out: folder of the folds' runs and of ``drives.json``, which is written after each fold.
        device: ``cpu`` or ``cuda``.
        workers: processes that prepare batches; None: as ``open_batches`` has it.
        observer: of the trainers; called with ``{"event": "run", "name", "done", "total"}`` before each fold, which is
            named after its drive.
        deadline: on ``time.monotonic()``'s clock, to stop behind the next checkpoint; None: never.

    Returns:
        ``summarise_drives``'s figures.

    Raises:
        DatasetError: the folder is not such a data set, or has a single drive.
        TrainingError: ``out`` holds a run of another recipe, or a fold fails.
        TimeUp: the deadline has passed; call again to go on.
    """
    out = Path(out)
    drives = open_dataset(dataset, root, "trainval").drives()
    runs = [PlannedRun(drive, recipe, dataset, *drive_fold(drive)) for drive in drives]
    for _ in carry_out_all(
        runs,
        out,
        lambda split: open_dataset(dataset, root, split),
        device=device,
        workers=workers,
        observer=observer,
        deadline=deadline,
    ):
        _write_summary(out, drives)
    return _write_summary(out, drives)


def summarise_drives(out: str | Path, drives: Sequence[str]) -> dict:
    """Figures of the folds that are finished, by their last validation (no picking of the best).

    Args:
        out: folder of the folds' runs.
        drives: all of them.

    Returns:
        JSON values: ``complete``; ``drives``, for each finished drive its ``val_miou`` (0..1), ``images``,
        ``iterations`` and ``per_class_iou``; ``val_miou``, the mean over the drives; ``pooled_miou`` and
        ``pooled_per_class_iou`` of the sum of their confusion matrices, which weighs every pixel alike and counts a
        class that is missing from a drive; ``iterations`` and ``seconds``, the sums. Figures are None where undefined.
    """
    folds, iterations, seconds, pooled, names = {}, 0, 0.0, None, ()
    for drive in drives:
        folder = Path(out) / drive
        if not (folder / "summary.json").exists():
            continue
        history = read_history(folder)
        report = history.validations[-1]["val"]
        matrix = np.array(report["confusion_matrix"], np.int64)
        pooled = ConfusionMatrix(len(matrix)) if pooled is None else pooled
        pooled.matrix += matrix
        names = tuple(report["per_class_iou"])
        iterations += history.iteration
        seconds += history.seconds or 0.0
        folds[drive] = {
            "val_miou": report["miou"],
            "images": report["images"],
            "iterations": history.iteration,
            "per_class_iou": report["per_class_iou"],
        }
    mious = [fold["val_miou"] for fold in folds.values() if fold["val_miou"] is not None]
    ious = [] if pooled is None else pooled.iou_per_class.tolist()
    return {
        "complete": len(folds) == len(drives),
        "val_miou": float(np.mean(mious)) if mious else None,
        "pooled_miou": None if pooled is None else _or_none(pooled.miou),
        "pooled_per_class_iou": {name: _or_none(iou) for name, iou in zip(names, ious)},
        "iterations": iterations,
        "seconds": round(seconds),
        "drives": folds,
    }


def _write_summary(out: Path, drives: Sequence[str]) -> dict:
    summary = summarise_drives(out, drives)
    write_text(out / "drives.json", json.dumps(summary, indent=1))
    return summary


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
