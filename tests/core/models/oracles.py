"""Preparing pytorchcv's networks, which others built, for a comparison with ours on the same weights."""

from torch import Tensor, nn


def randomise(oracle: nn.Module, images: Tensor, bn_eps: float | None = None) -> None:
    """Random numbers where constructors put zeros and ones, and the statistics of these images, so that none goes
    unnoticed and the activations stay of order one; and our eps, where it is given."""
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
    """Copies all parameters and statistics, paired by the order in which the two networks declare them."""
    for theirs, ours in zip(source.state_dict().values(), target.state_dict().values(), strict=True):
        assert theirs.shape == ours.shape
        ours.copy_(theirs)
