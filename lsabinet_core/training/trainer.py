"""Trains a network by a recipe: batches, loss, steps, validation, checkpoints."""

import contextlib
import math
import time
from collections.abc import Callable
from functools import partial

import torch

from lsabinet_core.data import SegmentationDataset
from lsabinet_core.errors import RecipeError, TrainingError
from lsabinet_core.models import create_model

from . import distributed
from .autocast import resolve_precision
from .auxiliary import Supervised
from .averaging import WeightAverage
from .batches import EpochShuffle, SampleCache, choose_pipeline, open_batches
from .checkpoint import load_checkpoint, save_checkpoint
from .distillation import Teacher
from .initial import start_from_weights
from .losses import class_weights, create_loss
from .optimizer import create_optimizer
from .recipe import Recipe
from .run_folder import RunFolder
from .schedule import warmup_poly
from .skipped import SkippedSteps
from .step import GradientStep, Outcome
from .synchronised_norm import synchronise_batch_norm
from .validation import Validation

LOG_ITERATIONS = 10
CHECKPOINT_SECONDS = 120

Observer = Callable[[dict], None]


class Trainer:
    """One run, on one device or on one device of each process of ``distributed``.

    The order of the samples and every random draw follow from the seed and the iteration, so that a run that is cut
    and resumed computes what the uninterrupted one would have (bit for bit on a CPU with the same number of threads).

    Args:
        recipe: what to compute.
        train: samples to learn from.
        val: samples to validate on.
        run: where to write; created before ``fit``.
        device: ``cpu`` or ``cuda``; with several processes this one's, from ``distributed.processes``.
        workers: processes that prepare batches; None: as ``open_batches`` has it.
        observer: called in the main process with a dict, whose ``event`` is

            - "loading" (done, total): samples read;
            - "compiling": the first step is being compiled, for up to minutes;
            - "step" (iteration, total, epoch, loss, lr, images_per_s), every few iterations;
            - "validation" (iteration, epoch, miou in 0..1, per_class_iou by class name, None where undefined);
            - "skipped" (iteration): loss or gradient was not finite, network and optimiser are as before; on a GPU it
              comes with the next "step";
            - "warning" (message): the run goes on without something that the message names.

    Raises:
        RecipeError: a setting that does not fit the device, the number of processes or the data.
        WeightsError: initial weights or a teacher's that cannot be read.
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
    ):
        _check_device(recipe, device)
        self.recipe = recipe
        self.run = run
        self.device = device
        self.workers = workers
        self.observer = observer
        self.train_set = train
        self.validation = Validation(recipe, run, train, val, device)
        torch.manual_seed(recipe.seed)
        classes = len(train.label_set)
        model = create_model(recipe.model, classes, **recipe.model_options)
        if recipe.initial_weights:
            self._start_from_weights(model)
        self.network = Supervised(model, classes, heads=recipe.auxiliary_weight > 0)
        self.network.to(device, memory_format=torch.channels_last)
        # The crops have one size: cuDNN looks for its fastest kernels once.
        torch.backends.cudnn.benchmark = True
        self.model = self.network.network
        self.average = WeightAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        if distributed.world_size() > 1:
            synchronise_batch_norm(self.network, device)
        teacher = recipe.distillation.teacher
        self.teacher = Teacher.load(teacher, train.label_set) if teacher else None
        self.optimizer = create_optimizer(recipe.optimizer, self.network)
        self.iteration = 0
        self.best_miou = -1.0
        self.skipped = SkippedSteps(recipe.max_skipped, lambda iteration: self._notify("skipped", iteration=iteration))
        self.seconds = 0.0
        self._compiled: bool | None = None
        self._scaler_state: dict = {}
        self._saved_iteration: int | None = None

    def resume(self) -> None:
        """Take up the state of the run's checkpoint, or start anew where the run was cut before its first.

        Raises:
            TrainingError: the checkpoint is not whole or does not fit its recipe, the data set has another number of
                images than at the beginning, or the run is finished and its checkpoint deleted.
        """
        self.run.check_images(self._images)
        if self.run.checkpoint.exists():
            self._restore(load_checkpoint(self.run.checkpoint, self.device))
        elif self.run.is_finished:
            raise TrainingError(f"{self.run.path} is complete, and its checkpoint is gone: nothing to resume")
        else:
            self._notify("warning", message=f"{self.run.path} has no checkpoint yet: starting at its beginning")
        if distributed.is_main():
            self.run.truncate_metrics(self.iteration)
            # The checkpoint is written before the validation of its iteration is known.
            known = [miou for miou in self.run.validated().values() if miou is not None]
            self.best_miou = max([self.best_miou, *known])

    def fit(self) -> dict | None:
        """Train to the end of the recipe; returns the summary that is also written to the run's folder.

        In processes beside the main one the result is None.

        Raises:
            TrainingError: the run diverged, cannot be written, or lost one of its processes; the last checkpoint is
                whole, and ``resume`` goes on from it.
            DatasetError: a sample that cannot be read; likewise.
        """
        try:
            with self.run.lock() if distributed.is_main() else contextlib.nullcontext():
                return self._fit()
        except OSError as error:
            what = f"{error.filename or self.run.path}: {error.strerror or error}"
            raise TrainingError(f"the run cannot go on: {what}; {self._advice()}") from None

    def _fit(self) -> dict | None:
        recipe, processes = self.recipe, distributed.world_size()
        if self.validation.seen:
            split = self.validation.val.split
            self._notify("warning", message=f"{split} is learned from, too: its mIoU says nothing of other images")
        samples = SampleCache(self.train_set, lambda done, total: self._notify("loading", done=done, total=total))
        distributed.on_main(partial(self._begin_session, choose_pipeline(samples, recipe, self.device)), self.device)
        step = self._create_step(samples)
        fill = tuple(round(255 * value) for value in reversed(recipe.mean))
        shuffle = EpochShuffle(
            len(samples), recipe.batch_size, recipe.epochs, recipe.seed, self.iteration, distributed.rank(), processes
        )
        if self.iteration >= shuffle.total and self.run.is_finished:
            raise TrainingError(f"{self.run.path} is complete after {self.iteration} iterations: nothing to resume")
        # Cut after its last checkpoint and before its summary: there is nothing to train, but to validate.
        resumed_at_end = self.iteration >= shuffle.total
        validate_iterations = recipe.validate_epochs * shuffle.epoch_iterations
        batches = open_batches(samples, recipe, fill, shuffle, workers=self.workers, device=self.device)
        if not resumed_at_end and self.iteration and self.iteration % validate_iterations == 0:
            # Cut in the validation that was due.
            distributed.on_main(
                partial(self._validate_if_missing, step, self.iteration // shuffle.epoch_iterations), self.device
            )
        # To read a loss is to wait for the device.
        log_iterations = 5 * LOG_ITERATIONS if self.device.type == "cuda" else LOG_ITERATIONS
        started = saved = logged = time.monotonic()
        seconds_before, images_done, summary = self.seconds, 0, None
        if step.objective.is_compiled and not resumed_at_end:
            self._notify("compiling")
        for images, labels in batches:
            lr = self._set_learning_rate(shuffle.total)
            # Of dropout, the only chance within a step.
            torch.manual_seed(_mix(recipe.seed, self.iteration, distributed.rank()))
            outcome = self._step(step, images, labels)
            if self.average is not None:
                self.average.update(self.model, outcome.finite)
            self.iteration += 1
            images_done += len(images) * processes
            self.skipped.add(outcome)
            finished = self.iteration == shuffle.total
            logs = finished or self.iteration % log_iterations == 0
            validates = finished or self.iteration % validate_iterations == 0
            if logs or validates or self.device.type != "cuda":
                self.skipped.count(self.iteration)
            now = time.monotonic()
            self.seconds = seconds_before + now - started
            epoch = (self.iteration - 1) // shuffle.epoch_iterations + 1
            if logs:
                rate = round(images_done / max(now - logged, 1e-9), 3)
                self._log(shuffle.total, epoch=epoch, loss=float(outcome.loss), lr=lr, images_per_s=rate)
                logged, images_done = now, 0
            if now - saved > CHECKPOINT_SECONDS and not validates and distributed.is_main():
                self.skipped.count(self.iteration)
                self._checkpoint(step)
                saved = time.monotonic()
            if validates:
                summary = distributed.on_main(partial(self._validate, step, epoch), self.device)
                saved = logged = time.monotonic()
                images_done = 0
        if resumed_at_end:
            summary = distributed.on_main(partial(self._validate, step, recipe.epochs), self.device)
        distributed.on_main(partial(self._finish, summary), self.device)
        return summary

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
            self._notify("warning", message=f"the run goes on with other {', '.join(differences)} than it began with")

    def _step(self, step: GradientStep, images: torch.Tensor, labels: torch.Tensor) -> Outcome:
        try:
            outcome = step(images, labels)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainingError(
                "batch normalisation has a single value of each channel to go by: expected larger crops, or larger "
                "batches (batch_size over processes and accumulation)"
            ) from None
        if self._compiled != step.objective.is_compiled:
            self._compiled = step.objective.is_compiled
            if distributed.is_main():
                self.run.note(compiled=self._compiled)
        return outcome

    def _create_step(self, samples: SampleCache) -> GradientStep:
        recipe = self.recipe
        weight = torch.from_numpy(class_weights(samples.pixels)).to(self.device) if recipe.class_weights else None
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
            warn=lambda message: self._notify("warning", message=message),
        )
        if self._scaler_state:
            step.scaler.load_state_dict(self._scaler_state)
        return step

    def _start_from_weights(self, model: torch.nn.Module) -> None:
        skipped = start_from_weights(model, self.recipe, self.train_set.label_set)
        if skipped:
            self._notify(
                "warning",
                message=f"{self.recipe.initial_weights} knows other classes: {', '.join(skipped)} start at random",
            )

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

    def _log(self, total: int, **values) -> None:
        if distributed.is_main():
            self.run.record(iteration=self.iteration, **values)
            self._notify("step", iteration=self.iteration, total=total, **values)

    def _validate_if_missing(self, step: GradientStep, epoch: int) -> None:
        if self.iteration not in self.run.validated():
            self._validate(step, epoch)

    def _validate(self, step: GradientStep, epoch: int) -> dict:
        """Write the checkpoint, measure, write weights and record, in this order; returns the run's summary so far.

        Measuring can take minutes, and a run that is cut in it shall not train anew. The record is last: without it, a
        resumed run does all of this again.
        """
        if self._saved_iteration != self.iteration:
            self._checkpoint(step)
        report = self.validation.measure(self._validated)
        figures = report.to_dict()
        self._notify(
            "validation",
            iteration=self.iteration,
            epoch=epoch,
            miou=report.miou,
            per_class_iou=figures["per_class_iou"],
        )
        # Without a labelled pixel there is none.
        miou = None if math.isnan(report.miou) else report.miou
        best = miou is not None and miou > self.best_miou
        facts = {"iterations": self.iteration, "seconds": round(self.seconds)}
        self.validation.save(self.model, self.average, miou, best, facts)
        if best:
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
    def _validated(self) -> torch.nn.Module:
        return self.model if self.average is None else self.average.module

    def _finish(self, summary: dict) -> None:
        self.run.finish(summary)
        try:
            from .run_pictures import write_pictures

            write_pictures(self.run, self._validated, self.validation.metadata(), self.validation.val, self.device)
        except Exception as error:  # a picture is not worth a run, whatever is wrong with it
            self._notify("warning", message=f"the run is complete, but its pictures cannot be drawn: {error}")

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
            # Version 0.1 wrote neither.
            self.skipped.in_a_row = state.get("skipped_in_a_row", 0)
            self._scaler_state = state.get("scaler", {})
        except (KeyError, ValueError, RuntimeError, AttributeError) as error:
            # PyTorch names the class first, then line by line what is missing.
            reason = " ".join(str(error).split())
            raise TrainingError(f"{self.run.checkpoint} does not fit its recipe: {reason[:300]}") from None
        self._saved_iteration = self.iteration

    def _advice(self) -> str:
        if self._saved_iteration is None:
            return "there was no checkpoint yet: mend it, then start again with --resume"
        return f"the checkpoint of iteration {self._saved_iteration} is whole: mend it, then go on with --resume"

    def _notify(self, event: str, **values) -> None:
        if distributed.is_main():
            self.observer({"event": event, **values})


def _mix(seed: int, iteration: int, rank: int) -> int:
    """A seed of its own for every step of every process."""
    return ((seed * 1_000_003 + iteration) * 4096 + rank) % 2**63


def _check_device(recipe: Recipe, device: torch.device) -> None:
    if recipe.precision == "fp16" and device.type != "cuda":
        raise RecipeError(f"precision: fp16 needs a CUDA GPU, the device is {device.type}; choose bf16 or fp32")
    parts = distributed.world_size() * recipe.accumulation
    if recipe.batch_size % parts:
        raise RecipeError(
            f"batch_size: expected a multiple of {parts}, which is accumulation {recipe.accumulation} times "
            f"{distributed.world_size()} processes, got {recipe.batch_size}"
        )
