"""Several training runs as one job that may be cut anywhere and called again.

Finished runs are passed over, a begun one goes on from its checkpoint, the others are started.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import LsabinetError, RecipeError, TrainingError, WeightsError

from .recipe import Recipe
from .run_folder import RunFolder
from .run_history import is_run, read_history
from .trainer import Observer, Trainer

State = Literal["waiting", "unfinished", "finished"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a campaign.

    Attributes:
        name: its folder below the campaign's, such as ``lrfa/seed1``.
        recipe: what it computes, its seed included.
        dataset: the data set's name.
        split: trained on.
        val_split: validated on.
    """

    name: str
    recipe: Recipe
    dataset: str
    split: str = "train"
    val_split: str = "val"

    @property
    def facts(self) -> dict:
        return {"dataset": self.dataset, "split": self.split, "val_split": self.val_split}


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder tells of it.

    Attributes:
        state: ``finished`` once it has a summary.
        iterations: done so far.
        total_iterations: that the recipe asks for; None while the records leave it open.
        images_per_s: median over the run's records; None before the first.
        val_miou: standard mIoU in 0..1 of the latest validation; None before the first.
        val_miou_paper_rule: likewise without the classes that were never hit, as the paper counts.
        seconds: spent so far; None before the first records.
        weights: name of the file in the run's folder with the weights that ``val_miou`` is of; None before the end.
    """

    state: State
    iterations: int = 0
    total_iterations: int | None = None
    images_per_s: float | None = None
    val_miou: float | None = None
    val_miou_paper_rule: float | None = None
    seconds: float | None = None
    weights: str | None = None


class TimeUp(BaseException):
    """The time given to this part of a campaign is over; the run's checkpoint is on disk.

    Like KeyboardInterrupt it is no error: what carries on after errors must let it pass.
    """


class StopAtCheckpoint:
    """Observer of a Trainer that passes events on, and ends the run behind the last checkpoint before ``deadline``.

    That is the one after which the next, by the longest interval so far, would come too late; so that no work is lost
    but the few iterations until the event that follows a checkpoint. Raises TimeUp out of ``Trainer.fit``.

    Args:
        run: whose checkpoint to look at.
        deadline: on ``time.monotonic()``'s clock.
        observer: gets every event.

    Attributes:
        seconds_to_first: from when this was made to the first checkpoint that it saw; 0 before that.
    """

    def __init__(self, run: RunFolder, deadline: float, observer: Observer):
        self.seconds_to_first = 0.0
        self._run = run
        self._deadline = deadline
        self._observer = observer
        self._began = time.monotonic()
        self._written: int | None = None
        self._since = 0.0
        self._longest = 0.0

    def __call__(self, event: dict) -> None:
        self._observer(event)
        # The last step is followed by what finishes the run.
        if event["event"] != "step" or event["iteration"] >= event["total"]:
            return
        now, written = time.monotonic(), _modified(self._run.checkpoint)
        if self._written is None:
            self._written, self._since = written, now
        elif written != self._written:
            self.seconds_to_first = self.seconds_to_first or now - self._began
            self._longest = max(self._longest, now - self._since)
            self._written, self._since = written, now
            if now + self._longest >= self._deadline:
                raise TimeUp


def read_run(folder: Path) -> RunRecord:
    """The state of a run, from its files; a run that is being written may be read."""
    if not is_run(folder):
        return RunRecord("waiting")
    history = read_history(folder)
    report = history.validations[-1]["val"] if history.validations else {}
    return RunRecord(
        state="finished" if history.finished else "unfinished",
        iterations=history.iteration,
        total_iterations=history.total_iterations,
        images_per_s=history.images_per_s,
        val_miou=report.get("miou"),
        val_miou_paper_rule=report.get("miou_paper_rule"),
        seconds=history.seconds,
        weights=history.summary.get("weights") if history.finished else None,
    )


def carry_out_all(
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
    """Carry out the runs that are not finished yet, one after the other, and yield each once it is.

    Args:
        runs: in their order.
        folder: of the campaign.
        open_split: gives the data set's split of that name.
        device: ``cpu`` or ``cuda``.
        workers: processes that prepare batches; None: as ``open_batches`` has it.
        observer: of the Trainers; called with ``{"event": "run", "name", "done", "total"}`` before each run.
        deadline: on ``time.monotonic()``'s clock, to stop at the last checkpoint before it, and to begin no run that
            would not come to its first, as long as those before it took to theirs; None: never.
        failed: called with a run that cannot go on, such as one that diverged or whose recipe fits neither its network
            nor the device, and its error; the next one follows. None: the error ends the campaign.

    Raises:
        TimeUp: the deadline is near; call again to go on.
        TrainingError: one of the folders holds a run with another recipe or other data (known before any is trained),
            or a run failed.
        RecipeError, WeightsError: a run cannot begin, as a ``Trainer`` says.
    """
    for planned in runs:
        _check_same(planned, RunFolder(folder / planned.name))
    least = 0.0
    for done, planned in enumerate(runs):
        if read_run(folder / planned.name).state == "finished":
            continue
        watch = observer
        if deadline is not None:
            if time.monotonic() + least >= deadline:
                raise TimeUp
            watch = StopAtCheckpoint(RunFolder(folder / planned.name), deadline, observer)
        observer({"event": "run", "name": planned.name, "done": done, "total": len(runs)})
        try:
            carry_out(planned, folder, open_split, device=device, workers=workers, observer=watch)
        except (TrainingError, RecipeError, WeightsError) as error:
            if failed is None:
                raise
            failed(planned, error)
        else:
            yield planned
        if deadline is not None:
            least = max(least, watch.seconds_to_first)


def carry_out(
    planned: PlannedRun,
    folder: Path,
    open_split: Callable[[str], SegmentationDataset],
    *,
    device: torch.device,
    workers: int | None = None,
    observer: Observer = lambda event: None,
) -> RunRecord:
    """Start, resume or pass over one run, until it is finished.

    Args:
        planned: the run.
        folder: of the campaign; the run's is ``folder / planned.name``.
        open_split: gives the data set's split of that name.
        device: ``cpu`` or ``cuda``.
        workers: processes that prepare batches; None: as ``open_batches`` has it.
        observer: of the Trainer.

    Raises:
        TrainingError: the folder holds a run with another recipe or other data.
    """
    path = folder / planned.name
    run = RunFolder(path)
    begun = run.recipe.exists()
    _check_same(planned, run)
    record = read_run(path)
    if record.state == "finished":
        return record
    train, val = open_split(planned.split), open_split(planned.val_split)
    if not begun:
        run.create(planned.recipe, {**planned.facts, "recipe": planned.recipe.description, "seed": planned.recipe.seed})
    # torch.compile keeps the graphs of earlier networks, and gives up after eight of the same function.
    torch.compiler.reset()
    trainer = Trainer(planned.recipe, train, val, run, device=device, workers=workers, observer=observer)
    if begun:
        trainer.resume()
    trainer.fit()
    return read_run(path)


def _check_same(planned: PlannedRun, run: RunFolder) -> None:
    if not run.recipe.exists():
        return
    recipe, facts = run.open()
    wanted, had = planned.recipe.model_dump(mode="json"), recipe.model_dump(mode="json")
    for key, value in {**wanted, **planned.facts}.items():
        before = facts.get(key) if key in planned.facts else had[key]
        if before != value and key != "description":
            raise TrainingError(
                f"{run.path} was trained with {key} {before!r}, not {value!r}: choose another --out, or delete it"
            )


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
