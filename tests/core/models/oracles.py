"""Preparation of pytorchcv's independent implementations for a comparison with equal weights."""

from torch import Tensor, nn


def randomise(oracle: nn.Module, images: Tensor, bn_eps: float | None = None) -> None:
    """Randomise parameters that constructors set to 0 or 1, and set the running statistics to those of ``images``.

    In this way every parameter affects the output, and activations stay of order 1. ``bn_eps`` replaces eps if given.
    """
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = bn_eps or module.eps
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)
    oracle.train()(images)
    oracle.eval()


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copy all parameters and statistics, paired in the order in which the two networks declare them."""
    for theirs, ours in zip(source.state_dict().values(), target.state_dict().values(), strict=True):
        assert theirs.shape == ours.shape
        ours.copy_(theirs)
