"""Training steps of networks that are small enough for independent calculation."""

import torch
import torch.nn.functional as F
from torch import nn

from lsabinet_core.training.auxiliary import Supervised
from lsabinet_core.training.distillation import Teacher
from lsabinet_core.training.losses import CrossEntropy
from lsabinet_core.training.recipe import Recipe
from lsabinet_core.training.step import GradientStep

CLASSES = 5
CPU = torch.device("cpu")


class Tiny(nn.Module):
    """A network that processes each image independently: it has no batch normalisation."""

    auxiliary_channels = (8,)

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, stride=8, padding=1)
        self.classify = nn.Conv2d(8, CLASSES, 1)

    def with_features(self, image):
        features = self.features(image)
        return self.classify(F.relu(features)), (features,)

    def forward(self, image):
        return F.interpolate(self.with_features(image)[0], size=image.shape[-2:], mode="bilinear")


def make_step(network, recipe=None, *, loss=None, teacher=None, warn=None, **settings):
    """A training step with SGD at learning rate 1, so that its update equals the gradient."""
    recipe = recipe or Recipe(**settings)
    torch.manual_seed(3)
    supervised = Supervised(network, CLASSES, heads=recipe.auxiliary_weight > 0)
    if supervised.heads:
        # Replace the head by one without batch normalisation, like the rest of the network.
        supervised.heads[0] = nn.Conv2d(8, CLASSES, 1)
    optimizer = torch.optim.SGD(supervised.parameters(), lr=1.0)
    options = {"warn": warn} if warn else {}
    loss = loss or CrossEntropy(torch.tensor([1.0, 2.0, 0.5, 4.0, 3.0]))
    return GradientStep(supervised, loss, optimizer, recipe, CPU, teacher=teacher, **options)


def update(step, batch):
    """The loss, and the change of each parameter in the step."""
    before = [parameter.detach().clone() for parameter in step.network.parameters()]
    loss, finite, _ = step(*batch)
    assert finite
    return loss, torch.cat([(old - new).flatten() for old, new in zip(before, step.network.parameters())]).detach()


def tiny(seed=1):
    torch.manual_seed(seed)
    return Tiny()


def tiny_teacher():
    return Teacher(tiny(seed=9), mean=(0.3, 0.4, 0.5), std=(0.2, 0.2, 0.3))


EVERYTHING = {
    "auxiliary_weight": 0.4,
    "boundary_weight": 2.0,
    "boundary_radius": 2,
    "lovasz_weight": 0.6,
    "distillation": {"teacher": "given", "weight": 0.7, "temperature": 3.0},
    "batch_size": 4,
}
