"""Muon (Jordan et al., 2024): momentum whose update of each kernel is orthogonalised, for faster progress per step."""

from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial that moves singular values in 0..1 towards 1 (Jordan et al.)."""

ITERATIONS = 5

MIN_SIDE = 16
"""Smaller matrices, such as the kernels of depthwise convolutions, have too few singular values to balance."""

UPDATE_RMS = 0.2
"""Root mean square of an update at learning rate 1, which is that of Adam (Liu et al., Muon is Scalable, 2025)."""

EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for the kernels of convolutions, and AdamW for all other parameters.

    A kernel is treated as a matrix of output channels by (input channels x height x width). Its update has the root
    mean square of Adam's, so that both kinds share one learning rate.

    Args:
        parameters: of a network.
        lr: learning rate.
        momentum: decay of the kernels' momentum (Nesterov).
        betas: decays of AdamW's averages.
        weight_decay: decoupled decay of all parameters.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        lr: float,
        *,
        momentum: float,
        betas: tuple[float, float],
        weight_decay: float,
    ):
        kinds: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for parameter in parameters:
            kinds[_is_matrix(parameter)].append(parameter)
        groups = [{"params": kind, "matrices": matrices, "step": 0} for matrices, kind in kinds.items() if kind]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient; ``closure`` must be None."""
        assert closure is None, "Muon does not evaluate the loss again"
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            group["step"] += 1
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            (self._step_matrices if group["matrices"] else self._step_others)(group, parameters)

    def _step_matrices(self, group: dict[str, Any], kernels: list[Tensor]) -> None:
        gradients = _gradients(kernels)
        averages = self._averages(kernels, "momentum")
        torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
        for kernel, update in zip(kernels, torch._foreach_lerp(gradients, averages, group["momentum"]), strict=True):
            matrix = orthogonalise(update.flatten(1))
            scale = UPDATE_RMS * max(matrix.shape) ** 0.5
            kernel.add_(matrix.view(kernel.shape), alpha=-group["lr"] * scale)

    def _step_others(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        gradients = _gradients(parameters)
        means, squares = self._averages(parameters, "mean"), self._averages(parameters, "square")
        first, second = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        deviations = torch._foreach_div(squares, 1 - second ** group["step"])
        torch._foreach_sqrt_(deviations)
        torch._foreach_add_(deviations, EPSILON)
        torch._foreach_addcdiv_(parameters, means, deviations, -group["lr"] / (1 - first ** group["step"]))

    def _averages(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def orthogonalise(matrix: Tensor) -> Tensor:
    """Move the singular values of a matrix, float32 (M, N), to about 1 (0.7 to 1.2), by Newton-Schulz iterations.

    Values far below the largest one do not get as far.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    # The Frobenius norm is at least the largest singular value.
    x = x / (x.norm() + EPSILON)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = linear * x + (cubic * gram + quintic * gram @ gram) @ x
    return x.T if tall else x


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(parameter.shape[0], parameter[0].numel()) >= MIN_SIDE


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
