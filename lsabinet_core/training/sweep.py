"""A sweep: several training runs as one job, which continues where it was interrupted.

Every run is an ordinary run in a folder of its own. Finished runs are kept, interrupted runs resume from their
checkpoint, and the others are started. ``zoo``, ``ablation`` and ``left_out`` define the runs and tabulate the results.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import LsabinetError, RecipeError, TrainingError, WeightsError

from .observer import Observer
from .recipe import Recipe
from .run_folder import RunFolder
from .run_history import is_run, read_history
from .trainer import Trainer


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: its folder within the sweep's folder, such as ``lrfa/seed1``.
        recipe: recipe of the run, including its seed.
        dataset: name of the data set.
        split: training split.
        val_split: validation split.
    """

    name: str
    recipe: Recipe
    dataset: str
    split: str = "train"
    val_split: str = "val"

    @property
    def facts(self) -> dict:
        return {"dataset": self.dataset, "split": self.split, "val_split": self.val_split}


def train_runs(
    runs: Sequence[PlannedRun],
    folder: Path,
    open_split: Callable[[str], SegmentationDataset],
    *,
    device: torch.device,
    workers: int | None = None,
    observer: Observer = lambda event: None,
    deadline: float | None = None,
    failed: Callable[[PlannedRun, LsabinetError], None] | None = None,
) -> Iterator[PlannedRun]:
    """Train the unfinished runs one after the other, and yield each one as it finishes.

    Args:
        runs: the runs in order.
        folder: folder of the sweep.
        open_split: opens the data set's split of the given name.
        device: ``cpu`` or ``cuda``.
        workers: processes that prepare batches; None: the default of ``open_batches``.
        observer: observer of the Trainers; called with ``{"event": "run", "name", "done", "total"}`` before each run.
        deadline: on ``time.monotonic()``'s clock; the current run then stops with a checkpoint and no other starts.
        failed: called with a run that failed, for example because it diverged, and its error; the sweep then continues
            with the next run. None: the error ends the sweep.

    Raises:
        TrainingError: a folder holds a run with another recipe or data (checked before any training), or a run failed.
        RecipeError, WeightsError: a run cannot be started, see ``Trainer``.
    """
    for planned in runs:
        _check_same(planned, RunFolder(folder / planned.name))
    for done, planned in enumerate(runs):
        run = RunFolder(folder / planned.name)
        if run.is_finished:
            continue
        if deadline is not None and time.monotonic() >= deadline:
            return
        observer({"event": "run", "name": planned.name, "done": done, "total": len(runs)})
        try:
            finished = _train(planned, run, open_split, device, workers, observer, deadline)
        except (TrainingError, RecipeError, WeightsError) as error:
            if failed is None:
                raise
            failed(planned, error)
        else:
            if finished:
                yield planned


def run_rows(folder: Path, runs: Sequence[PlannedRun], errors: Mapping[str, str]) -> list[dict]:
    """The state of each run as a dict of JSON values; ``errors`` gives the messages of failed runs by name.

    - ``run``: name of the run; ``model``; ``seed``;
    - ``state``: waiting, unfinished, failed (``error`` gives the reason) or finished;
    - ``val_miou`` and ``val_miou_paper_rule`` in 0..1, and ``weights``, the file in the run's folder that they were
      measured on: None unless the run is finished, because intermediate figures are not comparable;
    - ``iterations`` and ``seconds`` so far.
    """
    return [_run_row(folder / planned.name, planned, errors.get(planned.name)) for planned in runs]


def _run_row(path: Path, planned: PlannedRun, error: str | None) -> dict:
    history = read_history(path) if is_run(path) else None
    summary = None if history is None or error is not None else history.summary
    report = history.validations[-1]["val"] if history and summary is not None and history.validations else {}
    begun = "waiting" if history is None else "unfinished"
    return {
        "run": planned.name,
        "model": planned.recipe.model,
        "seed": planned.recipe.seed,
        "state": "failed" if error else "finished" if summary is not None else begun,
        "val_miou": report.get("miou"),
        "val_miou_paper_rule": report.get("miou_paper_rule"),
        "weights": None if summary is None else summary.get("weights"),
        "iterations": 0 if history is None else history.iteration,
        "seconds": None if history is None else history.seconds,
        "error": error,
    }


def _train(
    planned: PlannedRun,
    run: RunFolder,
    open_split: Callable[[str], SegmentationDataset],
    device: torch.device,
    workers: int | None,
    observer: Observer,
    deadline: float | None,
) -> bool:
    """Start or resume a run; returns whether it is finished."""
    train, val = open_split(planned.split), open_split(planned.val_split)
    resumes = run.recipe.exists()
    if not resumes:
        run.create(planned.recipe, {**planned.facts, "recipe": planned.recipe.description, "seed": planned.recipe.seed})
    # torch.compile caches the graphs of earlier networks, and stops compiling a function after eight of them.
    torch.compiler.reset()
    trainer = Trainer(
        planned.recipe, train, val, run, device=device, workers=workers, observer=observer, deadline=deadline
    )
    if resumes:
        trainer.resume()
    return trainer.fit() is not None


def _check_same(planned: PlannedRun, run: RunFolder) -> None:
    if not run.recipe.exists():
        return
    recipe, facts = run.open()
    wanted = {**planned.recipe.model_dump(mode="json"), **planned.facts}
    found = {**recipe.model_dump(mode="json"), **{key: facts.get(key) for key in planned.facts}}
    for key, value in wanted.items():
        if found[key] != value and key != "description":
            raise TrainingError(
                f"{run.path} was trained with {key} {found[key]!r}, not {value!r}: choose another --out or delete it"
            )
