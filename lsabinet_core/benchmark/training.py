"""Speed of ``lsabinet train``: its training step next to a plain one, its input pipeline, and both together."""

import contextlib
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lsabinet_core.data import LABEL_SETS, Sample
from lsabinet_core.labels import LabelSet
from lsabinet_core.models.blocks import move
from lsabinet_core.training.autocast import resolve_precision
from lsabinet_core.training.auxiliary import Supervised, shrink_labels
from lsabinet_core.training.batches import EpochShuffle, SampleCache, choose_pipeline, choose_workers, open_batches
from lsabinet_core.training.losses import CrossEntropy, lovasz_softmax
from lsabinet_core.training.optimizer import create_optimizer
from lsabinet_core.training.recipe import Distillation, Recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.trainer import Trainer

from .hardware import describe_machine
from .interleaved import synchronize, time_interleaved

BATCHES = 4
"""Number of batches of random samples that the input pipeline augments repeatedly."""

ITERATIONS = 1_000_000
"""Length of the run to which the measured iterations belong: long, so that the learning rate hardly changes."""

Progress = Callable[[str, int, int], None]
Step = Callable[[Tensor, Tensor], object]


class RandomImages:
    """A data set of random images in memory: images of ``size`` (H, W) with every pixel labelled."""

    name, split, licence = "random", "train", "none"

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


class PlainStep:
    """A straightforward training step: eager, fp32, NCHW.

    Args:
        network: the network to train; moved to ``device``.
        loss: computes the loss from logits and labels, on ``device``.
        recipe: normalisation, optimiser and the weights of the auxiliary heads and of the Lovász-softmax loss.
        device: device of the training.
    """

    def __init__(self, network: Supervised, loss: CrossEntropy, recipe: Recipe, device: torch.device):
        self.network = move(network, device, torch.contiguous_format)
        self.loss = loss
        self.optimizer = create_optimizer(recipe.optimizer, network)
        self.auxiliary_weight = recipe.auxiliary_weight
        self.lovasz_weight = recipe.lovasz_weight
        self.device = device
        self.mean = torch.tensor(recipe.mean, device=device)[:, None, None] * 255
        self.std = torch.tensor(recipe.std, device=device)[:, None, None] * 255

    def __call__(self, images: Tensor, labels: Tensor) -> float:
        """Train on images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W); returns the loss."""
        self.network.train()
        images, labels = images.to(self.device), labels.to(self.device).long()
        image = images.flip(-1).permute(0, 3, 1, 2).float().contiguous()
        logits, auxiliary = self.network((image - self.mean) / self.std)
        loss = self.loss(logits, labels)
        if self.lovasz_weight:
            loss = loss + self.lovasz_weight * lovasz_softmax(logits, labels)
        for head in auxiliary:
            loss = loss + self.auxiliary_weight * self.loss(head, shrink_labels(labels, head.shape[-2:]))
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
    """Measure training with the recipe on random images.

    Our step is ``Trainer.iterate``. Both steps use the same network with the same auxiliary heads, batch, loss and
    optimiser. Features that the plain step does not have are switched off: gradient accumulation, the boundary term,
    distillation and initial weights.

    Args:
        recipe: network, batch and crop size, precision, layout, compilation, input pipeline.
        dataset: data set whose classes are used.
        rounds: measured steps of each kind, interleaved, after the warm-up.
        workers: processes that prepare batches; None: the default of ``choose_workers``.
        device: ``cpu`` or ``cuda``.
        progress: called with what is measured, steps done, total steps.

    Returns:
        JSON values. ``lsabinet`` and ``plain``: ``step_ms`` (median), ``times_ms``, ``images_per_s``, and
        ``first_step_s``, the first step including compilation and allocation. ``speedup``: median of the plain step
        over ours. ``pipeline_images_per_s``: the input pipeline alone. ``training``: both together: ``images_per_s``;
        ``waiting``, the share of the time without a batch to train on; ``utilisation``, the throughput relative to
        that of our step alone; ``device_busy``, the share of the time that a GPU spent in steps by its own clock, None
        on a CPU (in the rest it augmented or was idle). ``warnings`` of the step, for example that it could not be
        compiled. ``settings`` and ``machine``.
    """
    plain = {
        "accumulation": 1,
        "boundary_weight": 0.0,
        "distillation": Distillation(),
        "initial_weights": "",
    }
    recipe = recipe.model_copy(update=plain)
    label_set = LABEL_SETS[dataset]
    warnings: list[str] = []
    data = RandomImages(BATCHES * recipe.batch_size, recipe.input_size, label_set)
    samples, workers = SampleCache(data), choose_workers(workers, device)
    with tempfile.TemporaryDirectory(prefix="lsabinet-") as folder:
        ours, plain = create_steps(recipe, data, samples, Path(folder), device, warnings.append)
        images, labels = random_batch(recipe, label_set)
        timings = time_interleaved(
            {"lsabinet": lambda: ours(images, labels), "plain": lambda: plain(images, labels)},
            rounds=rounds,
            device=device,
            progress=partial(progress, "steps"),
        )
        alone, *_ = _run_pipeline(samples, recipe, None, rounds, workers, device, partial(progress, "pipeline"))
        rate, waiting, busy = _run_pipeline(
            samples, recipe, ours, rounds, workers, device, partial(progress, "training")
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
            "lovasz_weight": recipe.lovasz_weight,
            "ema_decay": recipe.ema_decay,
            "input_pipeline": choose_pipeline(samples, recipe, device),
            "workers": workers,
            "rounds": rounds,
        },
        "machine": describe_machine(device),
    }


def create_steps(
    recipe: Recipe,
    data: RandomImages,
    samples: SampleCache,
    folder: Path,
    device: torch.device,
    warn: Callable[[str], None],
) -> tuple[Step, PlainStep]:
    """An iteration of a Trainer with a run in ``folder``, and a plain step with copies of its network and loss."""

    def observe(event: dict) -> None:
        if event["event"] == "warning":
            warn(event["message"])

    run = RunFolder(folder)
    run.create(recipe, {})
    run.begin_session({})
    trainer = Trainer(recipe, data, data, run, device=device, observer=observe)
    network = copy.deepcopy(trainer.network)
    step = trainer.create_step(samples)
    plain = PlainStep(network, step.objective.loss, recipe, device)

    def iterate(images: Tensor, labels: Tensor) -> Tensor:
        return trainer.iterate(step, images, labels, ITERATIONS)[1].loss

    return iterate, plain


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
    """Images per second of the input pipeline, feeding ``step`` if given; the share of the time spent waiting for it;
    and the share that a GPU spent in steps.

    Batches that the workers prepared before the measurement started are not counted.
    """
    prepared = 1 + 4 * workers
    total = prepared + batches
    shuffle = EpochShuffle(len(samples), recipe.batch_size, -(-total // BATCHES), recipe.seed, 0)
    pipeline = open_batches(samples, recipe, recipe.fill, shuffle, workers=workers, device=device)
    started, waited = time.perf_counter(), 0.0
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
    """Append the start and end of the GPU work submitted in this context to ``spans``."""
    if device.type != "cuda":
        yield
        return
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    yield
    end.record()
    spans.append((begin, end))
