"""One step of gradient descent on one batch."""

import torch
from torch import Tensor, nn

from .auxiliary import Supervised, shrink_labels
from .recipe import Recipe


class GradientStep:
    """Forward and backward pass, and the optimiser's update where both were finite.

    Args:
        network: the network with its auxiliary heads, on its device.
        loss: of logits (N, C, H, W) and labels (N, H, W).
        optimizer: over the network's parameters.
        recipe: precision, normalisation, weight of the auxiliary losses, whether to compile.
        device: where the network is.
    """

    def __init__(
        self,
        network: Supervised,
        loss: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        device: torch.device,
    ):
        self.network = network
        self.loss = loss
        self.optimizer = optimizer
        self.device = device
        self.auxiliary_weight = recipe.auxiliary_weight
        self.reduced_precision = recipe.precision == "bf16"
        self._mean = torch.tensor(recipe.mean, device=device) * 255
        self._std = torch.tensor(recipe.std, device=device) * 255
        self._objective = torch.compile(self.objective) if recipe.compile else self.objective

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, bool]:
        """Learn from images uint8 (N, H, W, 3) BGR and labels uint8 (N, H, W).

        Returns:
            the loss, and whether it and its gradient were finite; where not, network and optimiser are as before.
        """
        self.network.train()
        # A forward pass that is not finite also spoils the running statistics of batch normalisation.
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        loss = self._objective(
            images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True).long()
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        finite = bool(torch.isfinite(loss.detach() + torch.nn.utils.get_total_norm(gradients)))
        if finite:
            self.optimizer.step()
        else:
            for buffer, kept in zip(self.network.buffers(), statistics, strict=True):
                buffer.copy_(kept)
        return loss.detach(), finite

    def objective(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch that is on the device, labels int64."""
        # BGR as the data sets give it, RGB as mean, std and network have it; (N, H, W, 3) permuted is channels_last.
        normalised = ((images.flip(-1).float() - self._mean) / self._std).permute(0, 3, 1, 2)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced_precision):
            logits, auxiliary = self.network(normalised)
        loss = self.loss(logits, labels)
        for guess in auxiliary:
            loss = loss + self.auxiliary_weight * self.loss(guess, shrink_labels(labels, guess.shape[-2:]))
        return loss
