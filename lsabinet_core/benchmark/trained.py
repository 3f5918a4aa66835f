"""Where the accuracy of a table's networks comes from: weights, a zoo of runs, the table of an ablation."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsabinet_core.errors import LsabinetError, TrainingError, WeightsError
from lsabinet_core.models.weights import WeightsMetadata, list_weights, read_metadata
from lsabinet_core.training.run_history import RunHistory, find_runs, read_history


@dataclass(frozen=True)
class Accuracy:
    """How well a network segments, as its training found.

    Attributes:
        miou: standard mIoU in 0..1; None while its training goes on.
        origin: where the figure was found, for a column of the table.
        remark: what it was trained and validated on, and how long.
        per_class: IoU in 0..1 by class name, None where undefined; empty where it is not known.
        iterations: of the training in all; None where they are not known.
        miou_of: what the mIoU was measured on, where that is not the weights themselves.
    """

    miou: float | None
    origin: str
    remark: str
    per_class: dict[str, float | None]
    iterations: int | None = None
    miou_of: str | None = None


def of_shipped_weights(dataset: str) -> dict[str, Accuracy]:
    """By network: the weights that ship and were trained on that data set.

    Of several of one network, those that were measured themselves come before those whose figure is another run's.
    """
    found: dict[str, Accuracy] = {}
    for name in list_weights():
        metadata = read_metadata(name)
        if _is_of(metadata, dataset) and _is_whole(metadata) and "val_miou" in metadata.training:
            accuracy, other = _of_metadata(name, metadata), found.get(metadata.architecture)
            if other is None or (other.miou_of is not None and accuracy.miou_of is None):
                found[metadata.architecture] = accuracy
    return found


def of_weights(paths: Sequence[str], dataset: str) -> dict[str, Accuracy]:
    """By network: weights files or names of shipped weights.

    Raises:
        WeightsError: a file that cannot be read, of another data set, without a validation, with modules left out, or
            of a network that another one is of, too.
    """
    found: dict[str, Accuracy] = {}
    for path in paths:
        metadata = read_metadata(path)
        if not _is_of(metadata, dataset):
            raise WeightsError(f"{path}: expected weights trained on {dataset}, got {metadata.dataset}")
        if metadata.training.get("val_miou") is None:
            raise WeightsError(f"{path} does not say its validation mIoU: expected weights that lsabinet trained")
        if not _is_whole(metadata):
            off = ", ".join(key for key, on in metadata.options.items() if not on)
            raise WeightsError(f"{path}: expected a whole {metadata.architecture}, got one without {off}")
        if metadata.architecture in found:
            raise WeightsError(f"{path}: there are other weights of {metadata.architecture}: give one file of each")
        found[metadata.architecture] = _of_metadata(Path(path).name, metadata)
    return found


def of_zoo(folder: Path, dataset: str) -> dict[str, Accuracy]:
    """By network: the runs below ``folder``, as `lsabinet zoo train` leaves them; over several seeds, their mean.

    Runs of networks with modules left out are passed over.

    Raises:
        TrainingError: there is no run, or one on another data set.
    """
    runs: dict[str, list[RunHistory]] = {}
    for history in map(read_history, find_runs(folder)):
        trained_on = history.facts.get("dataset")
        if trained_on != dataset:
            raise TrainingError(f"{history.path}: expected a run on {dataset}, got one on {trained_on}")
        if all(history.recipe.get("model_options", {}).values()):
            runs.setdefault(history.recipe["model"], []).append(history)
    return {model: _of_runs(histories) for model, histories in runs.items()}


def _of_runs(histories: list[RunHistory]) -> Accuracy:
    """Of one network; while none is finished, there is no figure."""
    finished = [history for history in histories if history.finished]
    shown = finished or histories
    facts = shown[0].facts
    iterations = ", ".join(dict.fromkeys(f"{history.iteration:,}" for history in shown))
    total = "" if finished else f" of {shown[0].total_iterations or 'more'}"
    reports = [history.validations[-1]["val"].get("per_class_iou", {}) for history in finished if history.validations]
    return Accuracy(
        miou=statistics.fmean(history.summary["val_miou"] for history in finished) if finished else None,
        origin="in training" if not finished else "run" if len(finished) == 1 else f"{len(finished)} runs",
        remark=f"{', '.join(history.path.name for history in shown)}, {facts['dataset']} {facts.get('split')} -> "
        f"{facts.get('val_split')}, {iterations}{total} iterations",
        per_class={name: _mean(report.get(name) for report in reports) for name in reports[0]} if reports else {},
        iterations=shown[0].iteration if finished else None,
    )


def of_ablation(folder: Path, dataset: str) -> dict[str, Accuracy]:
    """By combination of modules: the table that `lsabinet ablate` wrote into ``folder``.

    Raises:
        TrainingError: there is none, or it is of other factors or another data set.
    """
    path = folder / "table.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        rows = {row["variant"]: row for row in table["rows"]}
        where, seeds = table["dataset"], ", ".join(map(str, table["seeds"]))
        trained_on = (
            f"{path}, recipe {table['recipe']}, {where} {table['split']} -> {table['val_split']}, seeds {seeds}"
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path}: expected the table of `lsabinet ablate` ({type(error).__name__})") from None
    if where != dataset:
        raise TrainingError(f"{path}: expected an ablation on {dataset}, got one on {where}")
    if "baseline" not in rows:
        raise TrainingError(f"{path}: expected the combinations of LRFA, SVFM and RCAD, got settings of a recipe")
    return {
        name: Accuracy(row["miou"], "ablation" if row["miou"] is not None else "in training", trained_on, {})
        for name, row in rows.items()
    }


def check_sources(table: int, *, weights: Sequence[str], zoo: Path | None, ablation: Path | None) -> None:
    """Raise LsabinetError for a source that the table has no use for."""
    if table == 4 and (weights or zoo):
        raise LsabinetError("--weights and --zoo are for tables 1 to 3: table 4 takes --ablation DIR")
    if table != 4 and ablation:
        raise LsabinetError(f"--ablation is for table 4: table {table} takes --weights and --zoo")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _is_of(metadata: WeightsMetadata, dataset: str) -> bool:
    return metadata.dataset.split()[:1] == [dataset]


def _is_whole(metadata: WeightsMetadata) -> bool:
    return all(metadata.options.values())


def _of_metadata(name: str, metadata: WeightsMetadata) -> Accuracy:
    training = metadata.training
    height, width = metadata.input_size
    validated_on, miou_of = training.get("validated_on", "val"), training.get("val_miou_of")
    # What was trained on all of the data is validated on none of it: the figure is that of another run.
    data = f"{metadata.dataset}, validated on none" if miou_of else f"{metadata.dataset} -> {validated_on}"
    iterations = total_iterations(training)
    return Accuracy(
        miou=training["val_miou"],
        origin=name,
        remark=f"{name}, {data}, {height}x{width}" + (f", {iterations:,} iterations" if iterations else ""),
        per_class={},
        iterations=iterations,
        miou_of=miou_of and f"the mIoU on {validated_on} of {miou_of}: these weights were trained on val, too",
    )


def total_iterations(training: dict) -> int | None:
    """Of the training that a weights file tells of, with those of the weights that it started from."""
    if "iterations" not in training:
        return None
    return training["iterations"] + training.get("first_round", {}).get("iterations", 0)
