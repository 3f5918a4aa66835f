"""The training objective: the network's loss on a batch, with all terms that the recipe adds to it."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .autocast import DTYPES, keep_dilated_in_float32, resolve_precision
from .auxiliary import Supervised, shrink_labels
from .compilation import compile_step
from .distillation import Teacher, distillation_loss, labelled_pixels, normalise
from .losses import MIN_MASS, CrossEntropy, boundary_band, lovasz_softmax
from .recipe import Recipe


class Objective(nn.Module):
    """label loss + auxiliary_weight * loss of each auxiliary head + lovasz_weight * Lovász-softmax loss
    + distillation.weight * distillation loss.

    If boundary_weight is not 0, pixels near a boundary between classes have 1 + boundary_weight times the weight in
    the label loss: U-Net's border weights (Ronneberger et al., 2015) with a band in place of the Gaussian.

    Args:
        network: the network with its auxiliary heads.
        loss: computes the label loss from logits and labels.
        recipe: normalisation, precision and the weights of the terms.
        teacher: None without distillation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Supervised, loss: CrossEntropy, recipe: Recipe, teacher: Teacher | None = None):
        super().__init__()
        self.network = network
        keep_dilated_in_float32(network)
        self.loss = loss
        self.teacher = teacher
        self.auxiliary_weight = recipe.auxiliary_weight
        self.boundary_weight = recipe.boundary_weight
        self.boundary_radius = recipe.boundary_radius
        self.lovasz_weight = recipe.lovasz_weight
        self.distillation = recipe.distillation
        self.dtype = DTYPES[resolve_precision(recipe.precision, next(network.parameters()).device)]
        self.register_buffer("mean", torch.tensor(recipe.mean) * 255)
        self.register_buffer("std", torch.tensor(recipe.std) * 255)
        self._compute = self._eager
        if recipe.compile:
            self._compute = compile_step(self._eager)

    @property
    def is_compiled(self) -> bool:
        return self._compute != self._eager

    def run_eagerly(self) -> None:
        """Switch compilation off for good."""
        self._compute = self._eager

    @contextlib.contextmanager
    def eagerly(self) -> Iterator[None]:
        """Context in which the objective is computed without compilation."""
        compute, self._compute = self._compute, self._eager
        try:
            yield
        finally:
            self._compute = compute

    def forward(self, images: Tensor, labels: Tensor, masses: Tensor | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            images: uint8 (N, H, W, 3) BGR.
            labels: int64 (N, H, W), 255 = void.
            masses: normalisers of the larger batch that contains this one: the sum of ``masses`` over its parts, whose
                losses then add up to that of the larger batch. None: this batch's own.
        """
        return self._compute(images, labels, masses)

    def masses(self, labels: Tensor) -> Tensor:
        """Normaliser of each term of the loss, for labels int64 (N, H, W): float32 (terms,)."""
        masses = [self.loss.mass(labels, self._emphasis(labels))]
        for size in self.network.auxiliary_sizes((labels.shape[1], labels.shape[2])):
            masses.append(self.loss.mass(shrink_labels(labels, size)))
        if self.teacher is not None:
            masses.append(labelled_pixels(labels))
        return torch.stack(masses)

    def _eager(self, images: Tensor, labels: Tensor, masses: Tensor | None) -> Tensor:
        device = images.device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            logits, auxiliary = self.network(normalise(images, self.mean, self.std))
        terms = 2 + len(auxiliary)
        mass = [None] * terms if masses is None else list(masses)
        emphasis = self._emphasis(labels)
        loss = self.loss(logits, labels, emphasis=emphasis, mass=mass[0])
        if self.lovasz_weight:
            # The sorting is within this part of the batch, and its result is averaged by the weight of its pixels.
            part = 1 if mass[0] is None else self.loss.mass(labels, emphasis) / mass[0].clamp(min=MIN_MASS)
            loss = loss + self.lovasz_weight * part * lovasz_softmax(logits, labels)
        for guess, its_mass in zip(auxiliary, mass[1:]):
            shrunk = shrink_labels(labels, guess.shape[-2:])
            loss = loss + self.auxiliary_weight * self.loss(guess, shrunk, mass=its_mass)
        if self.teacher is not None:
            with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
                teacher_logits = self.teacher(images)
            divergence = distillation_loss(logits, teacher_logits, labels, self.distillation.temperature, mass[-1])
            loss = loss + self.distillation.weight * divergence
        return loss

    def _emphasis(self, labels: Tensor) -> Tensor | None:
        if not self.boundary_weight:
            return None
        return 1 + self.boundary_weight * boundary_band(labels, self.boundary_radius)
