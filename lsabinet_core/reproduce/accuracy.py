"""Sources of the accuracy in the tables: weights, the runs of a zoo, the table of an ablation."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsabinet_core.errors import LsabinetError, TrainingError, WeightsError
from lsabinet_core.models.weights import WeightsMetadata, list_weights, read_metadata, total_iterations
from lsabinet_core.text_table import mean
from lsabinet_core.training.run_history import RunHistory, find_runs, read_history


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of a network, as measured by its training.

    Attributes:
        miou: standard mIoU in 0..1; None while the training is unfinished.
        origin: source of the figure, for a column of the table.
        remark: training and validation data, and length of the training.
        per_class: IoU in 0..1 by class name, None where undefined; empty if unknown.
        iterations: iterations of the whole training; None if unknown.
        miou_of: the network that the mIoU was measured on, if not these weights.
    """

    miou: float | None
    origin: str
    remark: str
    per_class: dict[str, float | None]
    iterations: int | None = None
    miou_of: str | None = None


def of_shipped_weights(dataset: str) -> dict[str, Accuracy]:
    """By network: the shipped weights that were trained on that data set.

    If a network has several, weights that were themselves validated take precedence over weights with the figure of
    another run.
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
        WeightsError: a file cannot be read, belongs to another data set, has no validation or lacks modules, or there
            are two files for one network.
    """
    found: dict[str, Accuracy] = {}
    for path in paths:
        metadata = read_metadata(path)
        if not _is_of(metadata, dataset):
            raise WeightsError(f"{path}: expected weights trained on {dataset}, got {metadata.dataset}")
        if metadata.training.get("val_miou") is None:
            raise WeightsError(f"{path} has no validation mIoU: expected weights trained by lsabinet")
        if not _is_whole(metadata):
            off = ", ".join(key for key, on in metadata.options.items() if not on)
            raise WeightsError(f"{path}: expected a complete {metadata.architecture}, got one without {off}")
        if metadata.architecture in found:
            raise WeightsError(f"{path}: duplicate weights of {metadata.architecture}: give one file per network")
        found[metadata.architecture] = _of_metadata(Path(path).name, metadata)
    return found


def of_zoo(folder: Path, dataset: str) -> dict[str, Accuracy]:
    """By network: the runs below ``folder``, as written by `lsabinet zoo train`; several seeds are averaged.

    Runs of networks with disabled modules are ignored.

    Raises:
        TrainingError: there is no run, or a run used another data set.
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
    """The runs of one network; without a figure while none is finished."""
    finished = [history for history in histories if history.finished]
    summaries = [history.summary for history in finished if history.summary is not None]
    shown = finished or histories
    facts = shown[0].facts
    iterations = ", ".join(dict.fromkeys(f"{history.iteration:,}" for history in shown))
    total = "" if finished else f" of {shown[0].total_iterations or 'more'}"
    reports = [history.validations[-1]["val"].get("per_class_iou", {}) for history in finished if history.validations]
    return Accuracy(
        miou=statistics.fmean(summary["val_miou"] for summary in summaries) if summaries else None,
        origin="in training" if not finished else "run" if len(finished) == 1 else f"{len(finished)} runs",
        remark=f"{', '.join(history.path.name for history in shown)}, {facts['dataset']} {facts.get('split')} -> "
        f"{facts.get('val_split')}, {iterations}{total} iterations",
        per_class={name: mean(report.get(name) for report in reports) for name in reports[0]} if reports else {},
        iterations=shown[0].iteration if finished else None,
    )


def of_ablation(folder: Path, dataset: str) -> dict[str, Accuracy]:
    """By combination of modules: the table written to ``folder`` by `lsabinet ablate`.

    Raises:
        TrainingError: there is no table, or it has other factors or another data set.
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
    """Raise LsabinetError for a source that does not apply to the table."""
    if table == 4 and (weights or zoo):
        raise LsabinetError("--weights and --zoo are for tables 1 to 3: table 4 takes --ablation DIR")
    if table != 4 and ablation:
        raise LsabinetError(f"--ablation is for table 4: table {table} takes --weights and --zoo")


def _is_of(metadata: WeightsMetadata, dataset: str) -> bool:
    return metadata.dataset.split()[:1] == [dataset]


def _is_whole(metadata: WeightsMetadata) -> bool:
    return all(metadata.options.values())


def _of_metadata(name: str, metadata: WeightsMetadata) -> Accuracy:
    training = metadata.training
    height, width = metadata.input_size
    validated_on, miou_of = training.get("validated_on", "val"), training.get("val_miou_of")
    # Weights trained on all data cannot be validated, so the figure comes from another run.
    data = f"{metadata.dataset}, validated on none" if miou_of else f"{metadata.dataset} -> {validated_on}"
    iterations = total_iterations(training)
    return Accuracy(
        miou=training["val_miou"],
        origin=name,
        remark=f"{name}, {data}, {height}x{width}" + (f", {iterations:,} iterations" if iterations else ""),
        per_class={},
        iterations=iterations,
        miou_of=miou_of and f"the mIoU on {validated_on} of {miou_of}: these weights were trained on val as well",
    )
