"""One step of gradient descent on one batch."""

import contextlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parallel import DistributedDataParallel

from lsabinet_core.models.blocks import move

from . import distributed
from .auxiliary import Supervised
from .distillation import Teacher
from .kept_buffers import KeptBuffers
from .losses import CrossEntropy
from .objective import Objective
from .recipe import Recipe

if TYPE_CHECKING:
    # PyTorch imports it when it is first used.
    import torch._dynamo.exc

MIN_COSINE, MAX_RATIO, MAX_RATIO_DROPPED = 0.9, 1.5, 2.0
"""Tolerances between the compiled and the eager gradient: of the direction in fp32, and of the ratio of the norms.

The direction is compared in fp32 without dropout only. With untrained networks, bf16 lowered the cosine to fp32 to 0.04
(ERFNet), and other dropout masks lowered it to 0, with up to 1.4 times the norm (LEDNet).
"""
MIN_SHARE = 1e-3
"""Relative gradient norm below which a tensor's gradient may be pure rounding (a bias before batch normalisation)."""


MIN_SCALE = 1.0
"""fp16 loss scale at or below which an overflow is not caused by loss scaling."""


class Outcome(NamedTuple):
    """Outcome of one step: scalars on its device, returned without synchronisation.

    Attributes:
        loss: float, loss of the whole batch.
        finite: bool, whether the loss and its gradient are finite; if not, network and optimiser did not change.
        overflowed: bool, whether they are not finite, possibly because of the fp16 loss scale, which is then lowered.
    """

    loss: Tensor
    finite: Tensor
    overflowed: Tensor


class GradientStep:
    """Forward and backward pass, and the optimiser's update if loss and gradient are finite.

    The loss is the mean over the whole batch: over its ``recipe.accumulation`` micro-batches and, in distributed
    training, over the shares of all processes. (Batch normalisation sees one micro-batch of all processes at a time.)

    Args:
        network: the network with its auxiliary heads, on its device.
        loss: computes the label loss from logits (N, C, H, W) and labels (N, H, W).
        optimizer: over the network's parameters.
        recipe: precision, normalisation, further loss terms, accumulation, clipping and compilation.
        device: the device of the network.
        teacher: teacher of the distillation, on any device; None: no distillation.
        warn: called with a message if compilation fails and the step runs without it.
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
        self.objective = move(Objective(network, loss, recipe, teacher), device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        # Done once: walking through a network takes as long as a tenth of a training step on a GPU.
        network.train()
        self._parameters = list(network.parameters())
        self._before = KeptBuffers(network)
        # Avoid a GPU synchronisation: fused optimisers decide on the device whether to apply the update.
        self._waits = device.type != "cuda" or not getattr(optimizer, "_step_supports_amp_scaling", False)
        self._unchecked = self.objective.is_compiled
        self._share: torch.nn.Module = self.objective
        if distributed.world_size() > 1:
            # Raised for parameters like (1, C, 1, 1), whose layout is ambiguous; the cost is not measurable.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self._share = DistributedDataParallel(self.objective)

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """Train on images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W), this process's share of the batch."""
        if not self.network.training:
            self.network.train()
        # A forward pass with non-finite values also corrupts the running statistics of batch normalisation.
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
                self.warn("the gradient of the compiled training step is wrong: the step runs uncompiled")
                self._before.restore()
                # Restore the RNG state: a resumed run repeats this check and must draw the same dropout masks.
                self._draw_again(chance)
                loss = self._differentiate(parts)
        return self._descend(loss)

    def _descend(self, loss: Tensor) -> Outcome:
        """Update the network with the gradient stored in its parameters, if it is finite."""
        self.scaler.unscale_(self.optimizer)
        parameters = [parameter for parameter in self._parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        finite = torch.isfinite(loss + norm)
        overflowed = torch.zeros_like(finite)
        if self.scaler.is_enabled():
            overflowed = ~torch.isfinite(norm) & (self.scaler.scale(torch.ones_like(loss)) > MIN_SCALE)
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        if not self._waits:
            # The same protocol as GradScaler's.
            optimizer: Any = self.optimizer
            optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
            optimizer.step()
            del optimizer.grad_scale, optimizer.found_inf
            self._before.restore_where(~finite)
        elif finite:
            self.optimizer.step()
        else:
            self._before.restore()
        self.scaler.update()
        return Outcome(loss, finite, overflowed)

    # Compilers can be silently wrong: torch 2.13 miscompiles the gradient of a bilinear resize on CPUs. The first step
    # of a run is therefore computed both compiled and eagerly.

    def _expected_gradient(self, parts: list[tuple[Tensor, Tensor]]) -> list[Tensor] | None:
        """Eager gradient of this batch, without an update; None if zero or non-finite (nothing to compare)."""
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
        """Whether the compiled gradient equals ``expected`` up to rounding.

        Half precision and other dropout masks can turn the gradient of an untrained network far, but they neither
        change its norm much nor set the gradient of a tensor to zero.
        """
        found = self._gradient()
        lengths = [torch.stack(torch._foreach_norm(gradient)) for gradient in (found, expected)]
        if bool(((lengths[0] == 0) & (lengths[1] > MIN_SHARE * lengths[1].norm())).any()):
            return False
        drops = any(isinstance(module, _DropoutNd) and module.p > 0 for module in self.network.modules())
        most = MAX_RATIO_DROPPED if drops else MAX_RATIO
        ratio = float(lengths[0].norm() / lengths[1].norm())
        if not 1 / most < ratio < most:
            return False
        if drops or self.objective.dtype != torch.float32:
            return True
        flat = [torch.cat([part.flatten() for part in gradient]) for gradient in (found, expected)]
        return float(torch.cosine_similarity(*flat, dim=0)) > MIN_COSINE

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
        """Store the gradient of the whole batch in the parameters; returns its loss."""
        processes = distributed.world_size()
        masses = None
        if len(parts) > 1 or processes > 1:
            masses = distributed.total(torch.stack([self.objective.masses(labels) for _, labels in parts]).sum(0))
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for index, (images, labels) in enumerate(parts):
            with self._exchange_gradients(last=index == len(parts) - 1):
                share = self._share(images, labels, masses)
                # DistributedDataParallel averages over the processes, but the shares must be summed.
                self.scaler.scale(share * processes).backward()
            loss += share.detach()
        return distributed.total(loss)

    def _exchange_gradients(self, last: bool) -> contextlib.AbstractContextManager:
        if last or not isinstance(self._share, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._share.no_sync()
