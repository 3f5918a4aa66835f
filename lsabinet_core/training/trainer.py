"""Trains a network with a recipe: batches, loss, steps, validation, checkpoints."""

import contextlib
import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.data.coverage import check_trainable
from lsabinet_core.errors import TrainingError
from lsabinet_core.models import create_model
from lsabinet_core.models.blocks import SegmentationNetwork, move

from . import distributed
from .autocast import resolve_precision
from .auxiliary import Supervised
from .averaging import WeightAverage
from .batches import EpochShuffle, SampleCache, choose_pipeline, open_batches
from .checkpoint import load_checkpoint, save_checkpoint
from .distillation import Teacher
from .initial import start_from_weights
from .losses import class_weights, create_loss
from .observer import Observer
from .optimizer import create_optimizer
from .prior import with_adjusted_prior
from .recipe import Recipe, check_device
from .run_folder import RunFolder
from .schedule import warmup_poly
from .shuffle import step_seed
from .skipped import SkippedSteps
from .step import GradientStep, Outcome
from .synchronised_norm import synchronise_batch_norm
from .validation import Validation

LOG_ITERATIONS = 10
CHECKPOINT_SECONDS = 120


class _SessionClock:
    """Training time, throughput since the last log line, and the time of the next checkpoint."""

    def __init__(self, seconds_before: float):
        self._seconds_before = seconds_before
        self._started = self._logged = self._saved = time.monotonic()
        self._images = 0

    def count(self, images: int) -> None:
        self._images += images

    def seconds(self) -> float:
        """Training time of the whole run, including earlier sessions."""
        return self._seconds_before + time.monotonic() - self._started

    def rate(self) -> float:
        """Images per second since the last call."""
        now = time.monotonic()
        rate = round(self._images / max(now - self._logged, 1e-9), 3)
        self._logged, self._images = now, 0
        return rate

    def checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved > CHECKPOINT_SECONDS

    def checkpoint_written(self) -> None:
        self._saved = time.monotonic()

    def restart(self) -> None:
        """Restart after a validation, which writes a checkpoint and whose time must not count for throughput."""
        self._saved = self._logged = time.monotonic()
        self._images = 0


class Trainer:
    """One run, on one device or, in ``distributed`` training, on one device per process.

    The order of the samples and every random draw follow from the seed and the iteration, so a run that is interrupted
    and resumed computes the same as an uninterrupted one (bit for bit on a CPU with the same number of threads).

    Args:
        recipe: all settings of the run.
        train: training split.
        val: validation split.
        run: output folder; created before ``fit``.
        device: ``cpu`` or ``cuda``; in distributed training this process's device, from ``distributed.processes``.
        workers: processes that prepare batches; None: the default of ``open_batches``.
        observer: called with the events of ``Observer``.
        deadline: on ``time.monotonic()``'s clock; ``fit`` stops with a checkpoint at the first iteration after it.

    Raises:
        RecipeError: a setting does not fit the device, the number of processes or the data.
        WeightsError: the initial weights or the teacher's weights cannot be read.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: SegmentationDataset,
        val: SegmentationDataset,
        run: RunFolder,
        *,
        device: torch.device,
        workers: int | None = None,
        observer: Observer = lambda event: None,
        deadline: float | None = None,
    ):
        check_device(recipe, device, distributed.world_size())
        self.recipe = recipe
        self.run = run
        self.device = device
        self.workers = workers
        self.observer = observer
        self.deadline = deadline
        self.train_set = train
        self.validation = Validation(recipe, run, train, val, device)
        torch.manual_seed(recipe.seed)
        classes = len(train.label_set)
        model = create_model(recipe.model, classes, **recipe.model_options)
        if recipe.initial_weights and (fresh := start_from_weights(model, recipe, train.label_set)):
            self._warn(f"{recipe.initial_weights} has no weights for {', '.join(fresh)}: initialised randomly")
        self.network = Supervised(model, classes, heads=recipe.auxiliary_weight > 0)
        move(self.network, device)
        # All crops have the same size, so cuDNN benchmarks its kernels only once.
        torch.backends.cudnn.benchmark = True
        self.model = self.network.network
        self.average = WeightAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        if distributed.world_size() > 1:
            synchronise_batch_norm(self.network, device)
        teacher = recipe.distillation.teacher
        self.teacher = Teacher.load(teacher, train.label_set) if teacher else None
        self.optimizer = create_optimizer(recipe.optimizer, self.network)
        self.iteration = 0
        self.best_miou: float = -1.0
        self.skipped = SkippedSteps(recipe.max_skipped, lambda iteration: self._notify("skipped", iteration=iteration))
        self.seconds = 0.0
        self._compiled: bool | None = None
        self._scaler_state: dict = {}
        self._class_weights: np.ndarray | None = None
        self._saved_iteration: int | None = None

    def resume(self) -> None:
        """Restore the run's checkpoint, or start from the beginning if the run was interrupted before the first one.

        Raises:
            TrainingError: the checkpoint is incomplete, corrupt or does not fit its recipe, the number of images in
                the data set changed, or the run is finished and its checkpoint was deleted.
        """
        self.run.check_images(self._images)
        if self.run.checkpoint.exists():
            self._restore(load_checkpoint(self.run.checkpoint, self.device))
        elif self.run.is_finished:
            raise TrainingError(f"{self.run.path} is complete and its checkpoint was deleted: nothing to resume")
        else:
            self._warn(f"{self.run.path} has no checkpoint yet: starting from the beginning")
        if distributed.is_main():
            self.run.truncate_metrics(self.iteration)
            # A checkpoint is written before its validation, so the best mIoU comes from the records.
            known = [miou for miou in self.run.validated().values() if miou is not None]
            self.best_miou = max([self.best_miou, *known])

    def fit(self) -> dict | None:
        """Train to the end of the recipe; returns the summary, which is also written to the run's folder.

        Returns None if the deadline stopped the training, and in processes other than the main one.

        Raises:
            TrainingError: the run diverged, cannot write its files, or lost one of its processes; the last checkpoint
                is intact, and ``resume`` continues from it.
            DatasetError: a sample cannot be read (``resume`` continues as well), or the labels have only one class.
        """
        try:
            with self.run.lock() if distributed.is_main() else contextlib.nullcontext():
                return self._fit()
        except OSError as error:
            what = f"{error.filename or self.run.path}: {error.strerror or error}"
            raise TrainingError(f"the run cannot continue: {what}; {self._advice()}") from None

    def _fit(self) -> dict | None:
        recipe = self.recipe
        samples = self._load_samples()
        distributed.on_main(partial(self._begin_session, choose_pipeline(samples, recipe, self.device)), self.device)
        step = self.create_step(samples)
        shuffle = EpochShuffle(
            len(samples),
            recipe.batch_size,
            recipe.epochs,
            recipe.seed,
            self.iteration,
            distributed.rank(),
            distributed.world_size(),
        )
        if self.iteration < shuffle.total:
            summary = self._train(step, samples, shuffle)
            if self.iteration < shuffle.total:
                return None
        elif self.run.is_finished:
            raise TrainingError(f"{self.run.path} is complete after {self.iteration} iterations: nothing to resume")
        else:
            # The run was interrupted after its last checkpoint and before its summary: only the validation is missing.
            summary = distributed.on_main(partial(self._validate, step, recipe.epochs), self.device)
        distributed.on_main(partial(self._finish, summary), self.device)
        return summary

    def _load_samples(self) -> SampleCache:
        if self.validation.seen:
            split = self.validation.val.split
            self._warn(f"split {split} overlaps the training data: its mIoU does not generalise")
        samples = SampleCache(self.train_set, lambda done, total: self._notify("loading", done=done, total=total))
        if (missing := check_trainable(self.train_set, samples.pixels)) is not None:
            self._warn(missing)
        return samples

    def _train(self, step: GradientStep, samples: SampleCache, shuffle: EpochShuffle) -> dict | None:
        """Iterate to the end of the recipe or the deadline; returns the summary of the last validation."""
        on_gpu = self.device.type == "cuda"
        # Reading a loss synchronises with the device.
        log_iterations = 5 * LOG_ITERATIONS if on_gpu else LOG_ITERATIONS
        validate_iterations = self.recipe.validate_epochs * shuffle.epoch_iterations
        batches = open_batches(
            samples, self.recipe, self.recipe.fill, shuffle, workers=self.workers, device=self.device, warn=self._warn
        )
        if self.iteration and self.iteration % validate_iterations == 0:
            # The run was interrupted during the validation of this iteration.
            epoch = self.iteration // shuffle.epoch_iterations
            distributed.on_main(partial(self._validate_if_missing, step, epoch), self.device)
        if step.objective.is_compiled:
            self._notify("compiling")
        clock, summary = _SessionClock(self.seconds), None
        for images, labels in batches:
            lr, outcome = self.iterate(step, images, labels, shuffle.total)
            clock.count(len(images) * distributed.world_size())
            self.seconds = clock.seconds()
            finished = self.iteration == shuffle.total
            logs = finished or self.iteration % log_iterations == 0
            validates = finished or self.iteration % validate_iterations == 0
            if logs or validates or not on_gpu:
                self.skipped.count(self.iteration)
            epoch = (self.iteration - 1) // shuffle.epoch_iterations + 1
            if logs:
                self._log(shuffle.total, epoch=epoch, loss=float(outcome.loss), lr=lr, images_per_s=clock.rate())
            if validates:
                summary = distributed.on_main(partial(self._validate, step, epoch), self.device)
                clock.restart()
            elif clock.checkpoint_is_due() and distributed.is_main():
                self._checkpoint_if_new(step)
                clock.checkpoint_written()
            if not finished and self._is_late(logs):
                distributed.on_main(partial(self._checkpoint_if_new, step), self.device)
                return None
        return summary

    def iterate(
        self, step: GradientStep, images: torch.Tensor, labels: torch.Tensor, total: int
    ) -> tuple[float, Outcome]:
        """Run one iteration of ``total`` on this process's share of a batch; returns learning rate and outcome."""
        lr = self._set_learning_rate(total)
        # Dropout is the only source of randomness within a step.
        torch.manual_seed(step_seed(self.recipe.seed, self.iteration, distributed.rank()))
        outcome = self._step(step, images, labels)
        if self.average is not None:
            self.average.update(self.model, outcome.finite)
        self.iteration += 1
        self.skipped.add(outcome)
        return lr, outcome

    def _is_late(self, logs: bool) -> bool:
        """Whether the deadline has passed; ``logs``: whether the processes log at this iteration."""
        if self.deadline is None:
            return False
        late = time.monotonic() >= self.deadline
        # All processes must stop at the same iteration. To agree on it, they wait for each other, so they do it rarely.
        if distributed.world_size() > 1:
            return logs and bool(distributed.total(torch.tensor(float(late), device=self.device)))
        return late

    def _checkpoint_if_new(self, step: GradientStep) -> None:
        if self._saved_iteration != self.iteration:
            self.skipped.count(self.iteration)
            self._checkpoint(step)

    def _begin_session(self, pipeline: str) -> None:
        differences = self.run.begin_session(
            {
                **self._images,
                "device": str(self.device),
                "precision": resolve_precision(self.recipe.precision, self.device),
                "input_pipeline": pipeline,
            }
        )
        if differences:
            self._warn(f"the run continues with a different {', '.join(differences)}")

    def _step(self, step: GradientStep, images: torch.Tensor, labels: torch.Tensor) -> Outcome:
        try:
            outcome = step(images, labels)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainingError(
                "batch normalisation got a single value per channel: expected larger crops, or larger "
                "batches (batch_size over processes and accumulation)"
            ) from None
        if self._compiled != step.objective.is_compiled:
            self._compiled = step.objective.is_compiled
            if distributed.is_main():
                self.run.note(compiled=self._compiled)
        return outcome

    def create_step(self, samples: SampleCache) -> GradientStep:
        """Create the gradient step of the recipe for training on ``samples``."""
        recipe = self.recipe
        self._class_weights = class_weights(samples.pixels) if recipe.class_weights else None
        weight = None if self._class_weights is None else torch.from_numpy(self._class_weights).to(self.device)
        loss = create_loss(
            recipe.loss,
            weight,
            label_smoothing=recipe.label_smoothing,
            ohem_threshold=recipe.ohem_threshold,
            ohem_min_kept=recipe.ohem_min_kept,
        )
        step = GradientStep(
            self.network,
            loss,
            self.optimizer,
            recipe,
            self.device,
            teacher=self.teacher,
            warn=self._warn,
        )
        if self._scaler_state:
            step.scaler.load_state_dict(self._scaler_state)
        return step

    def _set_learning_rate(self, total: int) -> float:
        schedule = self.recipe.schedule
        lr = self.recipe.optimizer.lr * warmup_poly(
            self.iteration,
            total,
            warmup=schedule.warmup_iterations,
            warmup_factor=schedule.warmup_factor,
            power=schedule.power,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _log(self, total: int, **values: Any) -> None:
        if distributed.is_main():
            self.run.record(iteration=self.iteration, **values)
            self._notify("step", iteration=self.iteration, total=total, **values)

    def _validate_if_missing(self, step: GradientStep, epoch: int) -> None:
        if self.iteration not in self.run.validated():
            self._validate(step, epoch)

    def _validate(self, step: GradientStep, epoch: int) -> dict:
        """Write the checkpoint, validate, write weights and record, in this order; returns the current summary.

        Validating can take minutes, and a run interrupted during it must not repeat the training. The record is written
        last: if it is missing, a resumed run repeats all of this.
        """
        self._checkpoint_if_new(step)
        report = self.validation.measure(self._shipped(self._validated))
        figures = report.to_dict()
        self._notify(
            "validation",
            iteration=self.iteration,
            epoch=epoch,
            miou=report.miou,
            per_class_iou=figures["per_class_iou"],
        )
        miou = None if math.isnan(report.miou) else report.miou
        best = miou is not None and miou > self.best_miou
        facts = {"iterations": self.iteration, "seconds": round(self.seconds)}
        average = None if self.average is None else self._shipped(self.average.module)
        self.validation.save(self._shipped(self.model), average, miou, best, facts)
        if best and miou is not None:
            self.best_miou = miou
        self.run.record(iteration=self.iteration, epoch=epoch, val=figures)
        return {
            "iterations": self.iteration,
            "val_miou": miou,
            "best_val_miou": self.best_miou if self.best_miou >= 0 else None,
            "seconds": round(self.seconds),
            "skipped": self.skipped.total,
            "weights": (self.run.last if self.average is None else self.run.ema).name,
        }

    @property
    def _images(self) -> dict[str, int]:
        return {"train_images": len(self.train_set), "val_images": len(self.validation.val)}

    @property
    def _validated(self) -> SegmentationNetwork:
        return self.model if self.average is None else self.average.module

    def _shipped(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """The network as it is validated and saved, which may differ from the trained one."""
        strength = self.recipe.prior_adjustment
        if not strength or self._class_weights is None:
            return network
        return with_adjusted_prior(network, self._class_weights, strength)

    def _finish(self, summary: dict | None) -> None:
        assert summary is not None, "the main process has validated at the end"
        self.run.finish(summary)
        try:
            from .run_pictures import write_pictures

            shown = self._shipped(self._validated)
            write_pictures(self.run, shown, self.validation.metadata(), self.validation.val, self.device)
        except Exception as error:  # noqa: BLE001 - failing to draw a picture must not fail the run
            self._warn(f"the run is complete, but its pictures could not be drawn: {error}")

    def _checkpoint(self, step: GradientStep) -> None:
        save_checkpoint(
            self.run.checkpoint,
            {
                "network": self.network.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": step.scaler.state_dict(),
                "iteration": self.iteration,
                "best_miou": self.best_miou,
                "skipped": self.skipped.total,
                "skipped_in_a_row": self.skipped.in_a_row,
                "seconds": self.seconds,
            },
        )
        self._saved_iteration = self.iteration

    def _restore(self, state: dict) -> None:
        try:
            self.network.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.iteration, self.best_miou = state["iteration"], state["best_miou"]
            self.skipped.total, self.seconds = state["skipped"], state["seconds"]
            # Version 0.1 did not write these values.
            self.skipped.in_a_row = state.get("skipped_in_a_row", 0)
            self._scaler_state = state.get("scaler", {})
        except (KeyError, ValueError, RuntimeError, AttributeError) as error:
            # PyTorch's message starts with the class, followed by one line per mismatch.
            reason = " ".join(str(error).split())
            raise TrainingError(f"{self.run.checkpoint} does not fit its recipe: {reason[:300]}") from None
        self._saved_iteration = self.iteration

    def _advice(self) -> str:
        if self._saved_iteration is None:
            return "there is no checkpoint yet: fix the problem and start again with --resume"
        return f"the checkpoint of iteration {self._saved_iteration} is intact: fix the problem and use --resume"

    def _warn(self, message: str) -> None:
        self._notify("warning", message=message)

    def _notify(self, event: str, **values: Any) -> None:
        if distributed.is_main():
            self.observer({"event": event, **values})
