"""The records of a run, read without changing its folder, so the run may still be training."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lsabinet_core.errors import TrainingError

RECIPE, FACTS, METRICS, SUMMARY = "recipe.yaml", "run.json", "metrics.jsonl", "summary.json"

# Entries of run.json, besides the recipe, that affect the result of a run.
_COMPARED_FACTS = (
    "dataset",
    "split",
    "val_split",
    "git_commit",
    "git_changed",
    "versions",
    "machine",
    "gpu",
    "processes",
    "threads",
)


@dataclass(frozen=True, eq=False)
class RunHistory:
    """The records of one run.

    Attributes:
        path: the run's folder.
        recipe: every setting, as nested dicts.
        facts: run.json: data set, command, versions.
        steps: training records in order: iteration, epoch, loss, lr, images_per_s, time.
        validations: records with ``val``, the report of the validation, in order.
        summary: final figures of a finished run, else None.
    """

    path: Path
    recipe: dict
    facts: dict
    steps: list[dict]
    validations: list[dict]
    summary: dict | None

    @property
    def finished(self) -> bool:
        return self.summary is not None

    @property
    def iteration(self) -> int:
        """Number of the last recorded iteration."""
        done = 0 if self.summary is None else self.summary.get("iterations", 0)
        return max([done, *(record["iteration"] for record in self.steps[-1:] + self.validations[-1:])])

    @cached_property
    def epoch_iterations(self) -> int | None:
        """Iterations of one epoch; None while the records do not determine it."""
        for record in self.validations:
            # Validations happen at the ends of epochs.
            if record.get("epoch"):
                return record["iteration"] // record["epoch"]
        # A step of epoch e, counted from 1, has (e - 1) * n < iteration <= e * n.
        least, most = 1, None
        for record in self.steps:
            epoch = record.get("epoch", 1)
            least = max(least, math.ceil(record["iteration"] / epoch))
            if epoch > 1:
                bound = (record["iteration"] - 1) // (epoch - 1)
                most = bound if most is None else min(most, bound)
        return least if least == most else None

    @property
    def total_iterations(self) -> int | None:
        """Iterations of the whole recipe; None while unknown."""
        if self.finished:
            return self.iteration
        epochs = self.recipe.get("epochs")
        return epochs * self.epoch_iterations if epochs and self.epoch_iterations else None

    @property
    def miou(self) -> np.ndarray:
        """float64 (V,): mIoU of each validation in 0..1; NaN where it was undefined."""
        return _numbers(record["val"].get("miou") for record in self.validations)

    @property
    def last_miou(self) -> float | None:
        """mIoU of the latest validation in 0..1."""
        return _or_none(self.miou[-1]) if len(self.miou) else None

    @property
    def best_miou(self) -> float | None:
        """Highest mIoU of all validations in 0..1."""
        known = self.miou[np.isfinite(self.miou)]
        return float(known.max()) if len(known) else None

    @property
    def images_per_s(self) -> float | None:
        """Median training throughput without validation and loading."""
        rates = self.series("images_per_s")
        rates = rates[np.isfinite(rates)]
        return float(np.median(rates)) if len(rates) else None

    @property
    def seconds(self) -> float | None:
        """Training time; for an unfinished run, the time between its records without interruptions.

        None if nothing is recorded.
        """
        if self.summary is not None and "seconds" in self.summary:
            return float(self.summary["seconds"])
        records = sorted((record["time"], "val" in record) for record in self.steps + self.validations)
        times, validating = np.array(records, np.float64).reshape(-1, 2).T
        gaps = np.diff(times)
        if not len(gaps):
            return None
        # An interruption is longer than any gap between records; the longest regular gaps are those before validations.
        validations = gaps[validating[1:].astype(bool)]
        longest = max(10 * np.median(gaps), 2 * np.median(validations) if len(validations) else 0.0)
        return float(gaps[gaps <= longest].sum())

    def series(self, key: str) -> np.ndarray:
        """float64 (S,): ``loss``, ``lr``, ``images_per_s`` or ``iteration`` of every training record."""
        return _numbers(record.get(key) for record in self.steps)

    @property
    def validation_iterations(self) -> np.ndarray:
        """float64 (V,)"""
        return _numbers(record["iteration"] for record in self.validations)

    def settings(self) -> dict:
        """Every setting, and every other fact that affects the result, by dotted key."""
        facts = {key: self.facts[key] for key in _COMPARED_FACTS if key in self.facts}
        return {**_flatten(self.recipe), **_flatten(facts)}


def is_run(folder: Path) -> bool:
    """Whether the folder holds a run."""
    return (folder / RECIPE).is_file() and (folder / FACTS).is_file()


def find_runs(folder: str | Path) -> list[Path]:
    """The folder itself if it is a run, else all runs below it at any depth, sorted.

    Raises:
        TrainingError: the folder does not exist or holds no run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder; expected a run, or a folder that holds runs")
    if is_run(folder):
        return [folder]
    runs = sorted(path.parent for path in folder.rglob(FACTS) if is_run(path.parent))
    if not runs:
        raise TrainingError(f"{folder} holds no run: expected {RECIPE} and {FACTS}, as `lsabinet train --out` writes")
    return runs


def read_history(folder: str | Path) -> RunHistory:
    """Read a run; an incomplete last record (of a run that is training or was killed) is ignored.

    Raises:
        TrainingError: the folder is not a run, or a file is corrupt; the message names the file and the line.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise TrainingError(f"{folder} is not a run: expected {RECIPE} and {FACTS}, as `lsabinet train --out` writes")
    steps, validations = _read_metrics(folder / METRICS)
    summary = folder / SUMMARY
    return RunHistory(
        path=folder,
        recipe=_read_document(folder / RECIPE, yaml.safe_load),
        facts=_read_document(folder / FACTS, json.loads),
        steps=steps,
        validations=validations,
        summary=_read_document(summary, json.loads) if summary.exists() else None,
    )


def differences(histories: Sequence[RunHistory]) -> dict[str, list]:
    """Dotted keys of the settings that differ between runs, each with one value per run (None if the run lacks it)."""
    settings = [history.settings() for history in histories]
    keys = dict.fromkeys(key for values in settings for key in values)
    # The description only restates the other keys.
    keys.pop("description", None)
    rows = {key: [values.get(key) for values in settings] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def _read_metrics(path: Path) -> tuple[list[dict], list[dict]]:
    text = _read_text(path) if path.exists() else ""
    # Text after the last line break is empty or an incomplete record.
    lines = text.split("\n")[:-1]
    steps, validations = [], []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            record["iteration"], record["time"] = int(record["iteration"]), float(record["time"])
            if "loss" in record:
                record["loss"] = float(record["loss"])
                steps.append(record)
            elif "val" in record:
                record["val"].get("miou")
                validations.append(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TrainingError(
                f"{path}, line {number}: expected a record of a run as JSON, got {line[:40]!r}: "
                "resume the run, or delete the line"
            ) from None
    return steps, validations


def _read_document(path: Path, parse: Callable[[str], Any]) -> dict:
    try:
        document = parse(_read_text(path))
    except (ValueError, yaml.YAMLError):
        document = None
    if not isinstance(document, dict):
        raise TrainingError(f"{path} is corrupt: expected keys and values as written by `lsabinet train`")
    return document


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from None


def _flatten(document: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
