"""How fast ``lsabinet train`` is: its gradient step beside a plain loop's, its input pipeline, and both together."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lsabinet_core.data import LABEL_SETS, Sample
from lsabinet_core.labels import LabelSet
from lsabinet_core.models import create_model
from lsabinet_core.training.autocast import resolve_precision
from lsabinet_core.training.auxiliary import Supervised, shrink_labels
from lsabinet_core.training.averaging import WeightAverage
from lsabinet_core.training.batches import EpochShuffle, SampleCache, choose_pipeline, choose_workers, open_batches
from lsabinet_core.training.losses import CrossEntropy, create_loss
from lsabinet_core.training.optimizer import create_optimizer
from lsabinet_core.training.recipe import Distillation, Recipe
from lsabinet_core.training.step import GradientStep

from .hardware import describe_machine
from .interleaved import synchronize, time_interleaved

BATCHES = 4
"""Of random samples, that the input pipeline augments over and over."""

Progress = Callable[[str, int, int], None]
Step = Callable[[Tensor, Tensor], Tensor | float]


class RandomImages:
    """A data set of noise in memory: images of ``size`` (H, W) with a label on every pixel."""

    name, split = "random", "train"

    def __init__(self, count: int, size: tuple[int, int], label_set: LabelSet):
        rng = np.random.default_rng(0)
        self.label_set = label_set
        self._samples = [
            Sample(
                rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, len(label_set), size, np.uint8), str(index)
            )
            for index in range(count)
        ]

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, index: int) -> Sample:
        return self._samples[index]


class TrainStep:
    """What every iteration of ``lsabinet train`` does with its batch: the gradient step and the averaged weights.

    Args:
        network: learns; moved to ``device``.
        loss: of logits and labels, on ``device``.
        recipe: what the step follows.
        device: where to learn.
        warn: called with a sentence where the step cannot be compiled.
    """

    def __init__(
        self,
        network: Supervised,
        loss: CrossEntropy,
        recipe: Recipe,
        device: torch.device,
        warn: Callable[[str], None],
    ):
        self.network = network.to(device, memory_format=torch.channels_last)
        self.average = WeightAverage(network.network, recipe.ema_decay) if recipe.ema_decay else None
        optimizer = create_optimizer(recipe.optimizer, self.network)
        self._step = GradientStep(self.network, loss, optimizer, recipe, device, warn=warn)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Learn from images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W); returns the loss."""
        outcome = self._step(images, labels)
        if self.average is not None:
            self.average.update(self.network.network, outcome.finite)
        return outcome.loss


class PlainStep:
    """A training step as it is written without thinking of speed: eager, fp32, NCHW.

    Args:
        network: learns; moved to ``device``.
        loss: of logits and labels, on ``device``.
        recipe: normalisation, optimiser and the weight of the auxiliary heads.
        device: where to learn.
    """

    def __init__(self, network: Supervised, loss: CrossEntropy, recipe: Recipe, device: torch.device):
        self.network = network.to(device, memory_format=torch.contiguous_format)
        self.loss = loss
        self.optimizer = create_optimizer(recipe.optimizer, network)
        self.auxiliary_weight = recipe.auxiliary_weight
        self.device = device
        self.mean = torch.tensor(recipe.mean, device=device)[:, None, None] * 255
        self.std = torch.tensor(recipe.std, device=device)[:, None, None] * 255

    def __call__(self, images: Tensor, labels: Tensor) -> float:
        """Learn from images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W); returns the loss."""
        self.network.train()
        images, labels = images.to(self.device), labels.to(self.device).long()
        image = images.flip(-1).permute(0, 3, 1, 2).float().contiguous()
        logits, auxiliary = self.network((image - self.mean) / self.std)
        loss = self.loss(logits, labels)
        for guess in auxiliary:
            loss = loss + self.auxiliary_weight * self.loss(guess, shrink_labels(labels, guess.shape[-2:]))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def benchmark_training(
    recipe: Recipe,
    *,
    dataset: str = "camvid",
    rounds: int = 10,
    workers: int | None = None,
    device: torch.device,
    progress: Progress = lambda what, done, total: None,
) -> dict:
    """Measure the recipe's training on random images.

    Both steps see the same network with the same auxiliary heads, the same batch, loss and optimiser; ours also updates
    the averaged weights and looks for values that are not finite, as every iteration of ``lsabinet train`` does. Left
    out, as no plain loop has them: gradient accumulation, the boundary term and distillation.

    Args:
        recipe: network, batch and crop size, precision, layout, compilation, input pipeline.
        dataset: whose classes to learn.
        rounds: measured steps of each kind, interleaved, after the warm-up.
        workers: processes that prepare batches; None: as ``choose_workers`` has it.
        device: ``cpu`` or ``cuda``.
        progress: called with what is being measured, steps done, steps in all.

    Returns:
        JSON values. ``lsabinet`` and ``plain``: ``step_ms`` (median), ``times_ms``, ``images_per_s``, and
        ``first_step_s``, the first step with compilation and allocation. ``speedup``: plain's median over ours.
        ``pipeline_images_per_s``: the input pipeline alone. ``training``: both together, ``images_per_s``, ``waiting``,
        the share of the time in which no batch was there to step on, ``utilisation``, the rate's share of our step's
        alone, and ``device_busy``, the share of the time that a GPU spent within steps by its own clock, None on a CPU;
        the rest it augmented or had nothing to do. ``warnings``: what the step could not do as asked. ``settings`` and
        ``machine``.
    """
    recipe = recipe.model_copy(update={"accumulation": 1, "boundary_weight": 0.0, "distillation": Distillation()})
    label_set = LABEL_SETS[dataset]
    warnings: list[str] = []
    ours, plain = create_steps(recipe, len(label_set), device, warnings.append)
    images, labels = random_batch(recipe, label_set)
    timings = time_interleaved(
        {"lsabinet": lambda: ours(images, labels), "plain": lambda: plain(images, labels)},
        rounds=rounds,
        device=device,
        progress=lambda done, total: progress("steps", done, total),
    )
    samples = SampleCache(RandomImages(BATCHES * recipe.batch_size, recipe.input_size, label_set))
    workers = choose_workers(workers, device)
    alone, *_ = _run_pipeline(samples, recipe, None, rounds, workers, device, lambda *n: progress("pipeline", *n))
    rate, waiting, busy = _run_pipeline(
        samples, recipe, ours, rounds, workers, device, lambda *n: progress("training", *n)
    )
    kinds = {
        name: {
            "step_ms": round(timing.median_ms, 3),
            "images_per_s": round(1000 * recipe.batch_size / timing.median_ms, 3),
            "first_step_s": round(timing.first_s, 3),
            "times_ms": [round(value, 3) for value in timing.times_ms],
        }
        for name, timing in timings.items()
    }
    return {
        **kinds,
        "speedup": round(timings["plain"].median_ms / timings["lsabinet"].median_ms, 4),
        "pipeline_images_per_s": round(alone, 3),
        "training": {
            "images_per_s": round(rate, 3),
            "waiting": round(waiting, 4),
            "utilisation": round(rate / kinds["lsabinet"]["images_per_s"], 4),
            "device_busy": None if busy is None else round(busy, 4),
        },
        "warnings": warnings,
        "settings": {
            "model": recipe.model,
            "model_options": recipe.model_options,
            "classes": len(label_set),
            "batch_size": recipe.batch_size,
            "crop_size": list(recipe.augmentation.crop_size),
            "image_size": list(recipe.input_size),
            "precision": resolve_precision(recipe.precision, device),
            "compile": recipe.compile,
            "optimizer": recipe.optimizer.name,
            "auxiliary_weight": recipe.auxiliary_weight,
            "ema_decay": recipe.ema_decay,
            "input_pipeline": choose_pipeline(samples, recipe, device),
            "workers": workers,
            "rounds": rounds,
        },
        "machine": describe_machine(device),
    }


def create_steps(
    recipe: Recipe, classes: int, device: torch.device, warn: Callable[[str], None]
) -> tuple[TrainStep, PlainStep]:
    """Our step and the plain one, each with its own copy of one network."""
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, classes, **recipe.model_options)
    network = Supervised(model, classes, heads=recipe.auxiliary_weight > 0)
    loss = create_loss(
        recipe.loss,
        torch.ones(classes, device=device) if recipe.class_weights else None,
        label_smoothing=recipe.label_smoothing,
        ohem_threshold=recipe.ohem_threshold,
        ohem_min_kept=recipe.ohem_min_kept,
    )
    ours = TrainStep(copy.deepcopy(network), loss, recipe, device, warn)
    return ours, PlainStep(network, loss, recipe, device)


def random_batch(recipe: Recipe, label_set: LabelSet) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.batch_size, *recipe.augmentation.crop_size)
    images = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, len(label_set), shape, dtype=torch.uint8, generator=generator)


def _run_pipeline(
    samples: SampleCache,
    recipe: Recipe,
    step: Step | None,
    batches: int,
    workers: int,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> tuple[float, float, float | None]:
    """Images a second of the input pipeline, into ``step`` where there is one; the share of time spent waiting for it;
    and the share that a GPU spent within steps.

    The batches that the workers have prepared before the clock starts are not counted.
    """
    prepared = 1 + 4 * workers
    total = prepared + batches
    shuffle = EpochShuffle(len(samples), recipe.batch_size, -(-total // BATCHES), recipe.seed, 0)
    fill = tuple(round(255 * value) for value in reversed(recipe.mean))
    pipeline = open_batches(samples, recipe, fill, shuffle, workers=workers, device=device)
    within_steps: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
    for number in range(1, total + 1):
        asked = time.perf_counter()
        images, labels = next(pipeline)
        got = time.perf_counter()
        if step is not None:
            with _device_time(device, within_steps):
                step(images, labels)
        if number == prepared:
            synchronize(device)
            within_steps.clear()
            started, waited = time.perf_counter(), 0.0
        elif number > prepared:
            waited += got - asked
        progress(number, total)
    synchronize(device)
    seconds = time.perf_counter() - started
    busy = sum(begin.elapsed_time(end) for begin, end in within_steps) / 1000 / seconds if within_steps else None
    return batches * recipe.batch_size / seconds, waited / seconds, busy


@contextlib.contextmanager
def _device_time(device: torch.device, spans: list[tuple[torch.cuda.Event, torch.cuda.Event]]) -> Iterator[None]:
    """Add when a GPU begins and ends what it is given within this context to ``spans``."""
    if device.type != "cuda":
        yield
        return
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    yield
    end.record()
    spans.append((begin, end))
