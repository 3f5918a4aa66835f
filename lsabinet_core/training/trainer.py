"""Trains a network by a recipe: batches, loss, steps, validation, checkpoints."""

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from lsabinet_core.data import LICENCES, SegmentationDataset
from lsabinet_core.errors import TrainingError
from lsabinet_core.evaluation.evaluate import evaluate
from lsabinet_core.inference.segmenter import Segmenter
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights

from .auxiliary import Supervised
from .averaging import WeightAverage
from .batches import AugmentedViews, EpochShuffle, SampleCache, load_batches
from .checkpoint import load_checkpoint, save_checkpoint
from .losses import class_weights, create_loss
from .recipe import Optimizer, Recipe
from .run_folder import RunFolder
from .schedule import warmup_poly
from .step import GradientStep

LOG_ITERATIONS = 10
CHECKPOINT_SECONDS = 120
MOST_SKIPPED = 10
"""Steps of a run that may be skipped because their loss is not finite."""

Observer = Callable[[dict], None]


class Trainer:
    """One run on one device.

    The order of the samples and every random draw follow from the seed and the iteration, so that a run that is cut
    and resumed computes what the uninterrupted one would have (bit for bit on a CPU with the same number of threads).

    Args:
        recipe: what to compute.
        train: samples to learn from.
        val: samples to validate on.
        run: where to write; created already.
        facts: where the data comes from, for the metadata of the weights.
        device: ``cpu`` or ``cuda``.
        workers: processes that prepare batches.
        observer: called with a dict: ``event`` is "loading" (done, total), "step" (iteration, total, epoch, loss, lr,
            images_per_s), "validation" (iteration, epoch, miou) or "skipped" (iteration: loss or gradient not finite).
    """

    def __init__(
        self,
        recipe: Recipe,
        train: SegmentationDataset,
        val: SegmentationDataset,
        run: RunFolder,
        *,
        device: torch.device,
        workers: int = 1,
        observer: Observer = lambda event: None,
    ):
        self.recipe = recipe
        self.run = run
        self.device = device
        self.workers = workers
        self.observer = observer
        self.val = val
        self.train_set = train
        torch.manual_seed(recipe.seed)
        classes = len(train.label_set)
        model = create_model(recipe.model, classes, **recipe.model_options)
        self.network = Supervised(model, classes, heads=recipe.auxiliary_weight > 0)
        self.network.to(device, memory_format=torch.channels_last)
        self.model = self.network.network
        self.average = WeightAverage(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.optimizer = _create_optimizer(recipe.optimizer, self.network)
        self.iteration = 0
        self.best_miou = -1.0
        self.skipped = 0
        self.seconds = 0.0

    def resume(self) -> None:
        """Take up the state of the run's checkpoint. Raises TrainingError where it is missing or does not fit."""
        state = load_checkpoint(self.run.checkpoint, self.device)
        try:
            self.network.load_state_dict(state["network"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.iteration, self.best_miou = state["iteration"], state["best_miou"]
            self.skipped, self.seconds = state["skipped"], state["seconds"]
        except (KeyError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"{self.run.checkpoint} does not fit its recipe: {reason}") from None
        self.run.truncate_metrics(self.iteration)

    def fit(self) -> dict:
        """Train to the end of the recipe; returns the summary that is also written to the run's folder."""
        recipe = self.recipe
        samples = SampleCache(self.train_set, lambda done, total: self._notify("loading", done=done, total=total))
        weight = None
        if recipe.class_weights:
            weight = torch.from_numpy(class_weights(samples.pixels)).to(self.device)
        step = GradientStep(self.network, create_loss(recipe.loss, weight), self.optimizer, recipe, self.device)
        fill = tuple(round(255 * value) for value in reversed(recipe.mean))
        views = AugmentedViews(samples, recipe.augmentation, fill, recipe.seed)
        shuffle = EpochShuffle(len(samples), recipe.batch_size, recipe.epochs, recipe.seed, self.iteration)
        if self.iteration >= shuffle.total:
            raise TrainingError(f"{self.run.path} is complete after {self.iteration} iterations: nothing to resume")
        validate_iterations = recipe.validate_epochs * shuffle.epoch_iterations
        started = saved = logged = time.monotonic()
        logged_iteration, seconds_before = self.iteration, self.seconds
        miou = math.nan
        for images, labels in load_batches(views, shuffle, self.workers):
            lr = self._set_learning_rate(shuffle.total)
            loss, finite = step(images, labels)
            if not finite:
                self._skip()
            elif self.average is not None:
                self.average.update(self.model)
            self.iteration += 1
            now = time.monotonic()
            self.seconds = seconds_before + now - started
            finished = self.iteration == shuffle.total
            validating = finished or self.iteration % validate_iterations == 0
            if finished or self.iteration % LOG_ITERATIONS == 0:
                images_done = (self.iteration - logged_iteration) * len(images)
                values = {
                    "iteration": self.iteration,
                    "epoch": (self.iteration - 1) // shuffle.epoch_iterations + 1,
                    "loss": float(loss),
                    "lr": lr,
                    "images_per_s": round(images_done / max(now - logged, 1e-9), 3),
                }
                logged, logged_iteration = now, self.iteration
                self.run.record(**values)
                self._notify("step", total=shuffle.total, **values)
            if validating:
                miou = self._validate(self.iteration // shuffle.epoch_iterations)
                logged, logged_iteration = time.monotonic(), self.iteration
            if validating or now - saved > CHECKPOINT_SECONDS:
                self._checkpoint()
                saved = time.monotonic()
        return self._summarise(miou)

    def _skip(self) -> None:
        self.skipped += 1
        self._notify("skipped", iteration=self.iteration)
        if self.skipped >= MOST_SKIPPED:
            raise TrainingError(
                f"loss or gradient was not finite {self.skipped} times: lower optimizer.lr or train with precision fp32"
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

    def _validate(self, epoch: int) -> float:
        metadata = self._metadata({})
        model = self.model if self.average is None else self.average.module
        report = evaluate(Segmenter(model, metadata, device=str(self.device), precision="fp32"), self.val)
        miou = report.miou
        self.run.record(iteration=self.iteration, epoch=epoch, val=report.to_dict())
        self._notify("validation", iteration=self.iteration, epoch=epoch, miou=miou)
        metadata = self._metadata({"val_miou": miou})
        save_weights(self.run.last, model, metadata)
        if miou > self.best_miou:
            self.best_miou = miou
            save_weights(self.run.best, model, metadata)
        return miou

    def _metadata(self, figures: dict) -> WeightsMetadata:
        recipe = self.recipe
        return WeightsMetadata(
            architecture=recipe.model,
            options=recipe.model_options,
            label_set=self.train_set.label_set,
            input_size=recipe.input_size,
            mean=recipe.mean,
            std=recipe.std,
            dataset=f"{self.train_set.name} {self.train_set.split}",
            licence=LICENCES[self.train_set.name],
            training={
                "recipe": recipe.model_dump(mode="json"),
                "iterations": self.iteration,
                "images": len(self.train_set),
                "seconds": round(self.seconds),
                "device": self.device.type,
                "validated_on": f"{self.val.name} {self.val.split}",
                **figures,
            },
        )

    def _checkpoint(self) -> None:
        save_checkpoint(
            self.run.checkpoint,
            {
                "network": self.network.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "iteration": self.iteration,
                "best_miou": self.best_miou,
                "skipped": self.skipped,
                "seconds": self.seconds,
            },
        )

    def _summarise(self, miou: float) -> dict:
        summary = {
            "iterations": self.iteration,
            "val_miou": miou,
            "best_val_miou": self.best_miou,
            "seconds": round(self.seconds),
            "skipped": self.skipped,
        }
        self.run.finish(summary)
        return summary

    def _notify(self, event: str, **values) -> None:
        self.observer({"event": event, **values})


def _create_optimizer(settings: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    parameters = model.parameters()
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)
