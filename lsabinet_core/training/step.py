"""One step of gradient descent on one batch."""

import contextlib
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DistributedDataParallel

from . import distributed
from .auxiliary import Supervised
from .distillation import Teacher
from .kept_buffers import KeptBuffers
from .losses import CrossEntropy
from .objective import Objective
from .recipe import Recipe

LEAST_COSINE, MOST_RATIO, MOST_RATIO_DROPPED = 0.9, 1.5, 2.0
"""Between the compiled and the plain gradient: of their directions in fp32, of their lengths always.

Of new networks' gradients, bf16 turned one to a cosine of 0.04 against fp32 (ERFNet), other masks of dropout several to
0, with up to 1.4 times the length (LEDNet): there the direction says nothing.
"""
LEAST_SHARE = 1e-3
"""Of the gradient's length: what is shorter may be rounding, as of a bias before batch normalisation."""


LEAST_SCALE = 1.0
"""Of fp16's losses: under it, no overflow is the scale's."""


class Outcome(NamedTuple):
    """Of one step; all three are scalars on its device, which nobody has waited for.

    Attributes:
        loss: float, of the whole batch.
        finite: bool, whether the loss and its gradient were; where not, network and optimiser are as before.
        overflowed: bool, whether they were not and the loss scale of fp16, lower from now on, may have been the reason.
    """

    loss: Tensor
    finite: Tensor
    overflowed: Tensor


class GradientStep:
    """Forward and backward pass, and the optimiser's update where both were finite.

    The loss is the mean over the whole batch: over its ``recipe.accumulation`` micro-batches and, where several
    processes train together, over the shares of all of them. (Batch normalisation sees one micro-batch of all
    processes at a time.)

    Args:
        network: the network with its auxiliary heads, on its device.
        loss: of logits (N, C, H, W) and labels (N, H, W).
        optimizer: over the network's parameters.
        recipe: precision, normalisation, further terms of the loss, accumulation, clipping, whether to compile.
        device: where the network is.
        teacher: of the distillation, on any device; None: without one.
        warn: called with a sentence where compiling failed and the step goes on without it.
    """

    def __init__(
        self,
        network: Supervised,
        loss: CrossEntropy,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        device: torch.device,
        *,
        teacher: Teacher | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ):
        self.network = network
        self.optimizer = optimizer
        self.device = device
        self.accumulation = recipe.accumulation
        self.clip_norm = recipe.clip_norm
        self.warn = warn
        self.objective = Objective(network, loss, recipe, teacher).to(device, memory_format=torch.channels_last)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        # Once each: to walk through a network takes as long as a tenth of a step on a GPU.
        network.train()
        self._parameters = list(network.parameters())
        self._before = KeptBuffers(network)
        # A GPU is not waited for: its fused optimisers look for themselves whether to change anything.
        self._waits = device.type != "cuda" or not getattr(optimizer, "_step_supports_amp_scaling", False)
        self._unchecked = self.objective.is_compiled
        self._share: torch.nn.Module = self.objective
        if distributed.world_size() > 1:
            # Of parameters like (1, C, 1, 1), whose layout is ambiguous; it costs nothing that can be measured.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._share = DistributedDataParallel(self.objective)

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """Learn from images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W), this process's share of the batch."""
        if not self.network.training:
            self.network.train()
        # A forward pass that is not finite also spoils the running statistics of batch normalisation.
        self._before.keep()
        parts = self._micro_batches(images, labels)
        chance = self._random_states() if self._unchecked else []
        expected = self._expected_gradient(parts) if self._unchecked else None
        try:
            loss = self._differentiate(parts)
        except torch._dynamo.exc.TorchDynamoException as error:
            if not self.objective.is_compiled:
                raise
            self.objective.run_eagerly()
            self.warn(f"the training step cannot be compiled and runs uncompiled: {' '.join(str(error).split())[:200]}")
            self._before.restore()
            loss = self._differentiate(parts)
        else:
            if expected is not None and not self._agrees(expected):
                self.objective.run_eagerly()
                self.warn("the compiled training step has another gradient than the network: it runs uncompiled")
                self._before.restore()
                # A resumed run, which is checked again, shall drop what the whole one drops.
                self._draw_again(chance)
                loss = self._differentiate(parts)
        return self._descend(loss)

    def _descend(self, loss: Tensor) -> Outcome:
        """Update the network by the gradient that is in its parameters, if it is finite."""
        self.scaler.unscale_(self.optimizer)
        parameters = [parameter for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])
        finite = torch.isfinite(loss + norm)
        overflowed = torch.zeros_like(finite)
        if self.scaler.is_enabled():
            overflowed = ~torch.isfinite(norm) & (self.scaler.scale(torch.ones_like(loss)) > LEAST_SCALE)
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        if not self._waits:
            # As GradScaler does it.
            self.optimizer.grad_scale, self.optimizer.found_inf = None, (~finite).float()
            self.optimizer.step()
            del self.optimizer.grad_scale, self.optimizer.found_inf
            self._before.restore_where(~finite)
        elif finite:
            self.optimizer.step()
        else:
            self._before.restore()
        self.scaler.update()
        return Outcome(loss, finite, overflowed)

    # Compilers have been wrong without a word: torch 2.13's about the gradient of a bilinear resize on a CPU. So the
    # first step of a run is computed both ways.

    def _expected_gradient(self, parts: list[tuple[Tensor, Tensor]]) -> list[Tensor] | None:
        """The gradient of the step uncompiled, which is not made; None where it says nothing: zero, not finite."""
        chance = self._random_states()
        with self.objective.eagerly():
            self._differentiate(parts)
        self._draw_again(chance)
        gradient = self._gradient()
        self._before.restore()
        length = float(torch.nn.utils.get_total_norm(gradient))
        if not 0 < length < float("inf"):
            return None
        self._unchecked = False
        return gradient

    def _agrees(self, expected: list[Tensor]) -> bool:
        """Whether the gradient is the expected one, but for rounding.

        In half precision that may turn a new network's gradient far, as other masks of dropout do; it does not make
        much of it longer or shorter, nor any part of it nothing.
        """
        found = self._gradient()
        lengths = [torch.stack(torch._foreach_norm(gradient)) for gradient in (found, expected)]
        if bool(((lengths[0] == 0) & (lengths[1] > LEAST_SHARE * lengths[1].norm())).any()):
            return False
        drops = any(isinstance(module, _DropoutNd) and module.p > 0 for module in self.network.modules())
        most = MOST_RATIO_DROPPED if drops else MOST_RATIO
        ratio = float(lengths[0].norm() / lengths[1].norm())
        if not 1 / most < ratio < most:
            return False
        if drops or self.objective.dtype != torch.float32:
            return True
        flat = [torch.cat([part.flatten() for part in gradient]) for gradient in (found, expected)]
        return float(torch.cosine_similarity(*flat, dim=0)) > LEAST_COSINE

    def _random_states(self) -> list[tuple[torch.Generator, Tensor]]:
        generators = [torch.default_generator]
        if self.device.type == "cuda":
            index = torch.cuda.current_device() if self.device.index is None else self.device.index
            generators.append(torch.cuda.default_generators[index])
        return [(generator, generator.get_state()) for generator in generators]

    @staticmethod
    def _draw_again(states: list[tuple[torch.Generator, Tensor]]) -> None:
        for generator, state in states:
            generator.set_state(state)

    def _gradient(self) -> list[Tensor]:
        return [parameter.grad.float() for parameter in self._parameters if parameter.grad is not None]

    def _micro_batches(self, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        images = images.to(self.device, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True).long()
        count = min(self.accumulation, len(images))
        return list(zip(images.tensor_split(count), labels.tensor_split(count)))

    def _differentiate(self, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Leave the whole batch's gradient in the parameters; returns its loss."""
        processes = distributed.world_size()
        masses = None
        if len(parts) > 1 or processes > 1:
            masses = distributed.total(torch.stack([self.objective.masses(labels) for _, labels in parts]).sum(0))
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for index, (images, labels) in enumerate(parts):
            with self._exchange_gradients(last=index == len(parts) - 1):
                share = self._share(images, labels, masses)
                # DistributedDataParallel averages the processes' gradients; the shares are to be added.
                self.scaler.scale(share * processes).backward()
            loss += share.detach()
        return distributed.total(loss)

    def _exchange_gradients(self, last: bool) -> contextlib.AbstractContextManager:
        if last or not isinstance(self._share, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._share.no_sync()
