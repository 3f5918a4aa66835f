"""Logit adjustment: removes the bias towards rare classes that class weights in the loss introduce.

A loss with weight w(c) for class c trains the network to predict c as if it were w(c) times as frequent. Subtracting
strength * ln w(c) from its logit restores the class frequencies of the training data (compare A. K. Menon et al.,
"Long-tail learning via logit adjustment", ICLR 2021). The shift is one constant per class: it is merged into the
classifier's bias and costs nothing at run time.
"""

import copy

import numpy as np
import torch
from torch import nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.models.blocks import Module


def with_adjusted_prior(network: Module, class_weights: np.ndarray, strength: float) -> Module:
    """Copy the network and lower the logit of each class by ``strength * ln(weight)``.

    Args:
        network: its last convolution outputs the logits, one channel per class, has a bias, and is followed by nothing
            but resizing.
        class_weights: float (C,) above 0, as ``losses.class_weights``.
        strength: 0 changes nothing, 1 removes the full effect of the weights.

    Raises:
        RecipeError: the network has another structure, such as an activation after its logits.
    """
    adjusted = copy.deepcopy(network)
    classifier = [module for module in adjusted.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)][-1]
    shift = torch.from_numpy(strength * np.log(class_weights)).double()
    if classifier.bias is not None and len(classifier.bias) == len(shift):
        with torch.no_grad():
            classifier.bias -= shift.to(classifier.bias)
        if _differ_by(network, adjusted, shift):
            return adjusted
    raise RecipeError(
        f"prior_adjustment: expected a network whose last convolution outputs the logits and has a bias for each of "
        f"{len(shift)} classes, got {type(network).__name__}; set it to 0"
    )


@torch.no_grad()
def _differ_by(network: nn.Module, adjusted: nn.Module, shift: torch.Tensor) -> bool:
    """Whether the logits of a test input differ by exactly the given shift of each class."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 128, 128, generator=generator, dtype=torch.float64)
    before, after = (copy.deepcopy(each).cpu().double().eval()(image) for each in (network, adjusted))
    return torch.allclose(before - after, shift[None, :, None, None].expand_as(before), atol=1e-4)
