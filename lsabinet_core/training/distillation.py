"""Learning from a trained network's opinion beside the labels (Hinton et al., 2015), pixel by pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.labels import VOID, LabelSet
from lsabinet_core.models.weights import load_weights

from .losses import LEAST_MASS


class Teacher(nn.Module):
    """A trained network that is only asked: frozen, always in evaluation mode, with its own normalisation.

    Args:
        network: images (N, 3, H, W) -> logits (N, C, H, W).
        mean: of red, green, blue, for images in 0..1.
        std: of red, green, blue, for images in 0..1.
    """

    def __init__(self, network: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean) * 255)
        self.register_buffer("std", torch.tensor(std) * 255)

    @classmethod
    def load(cls, weights: str, label_set: LabelSet) -> "Teacher":
        """From a weights file or the name of shipped weights.

        Raises:
            WeightsError: no such weights, or a file that is not what it should be.
            RecipeError: weights of other classes than ``label_set``.
        """
        network, metadata = load_weights(weights)
        if metadata.label_set.names != label_set.names:
            raise RecipeError(
                f"distillation.teacher: expected weights with the {len(label_set)} classes of {label_set.name}, got "
                f"the {len(metadata.label_set)} classes of {metadata.label_set.name} in {weights}"
            )
        return cls(network, metadata.mean, metadata.std)

    def train(self, mode: bool = True) -> "Teacher":
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images uint8 (N, H, W, 3) BGR -> logits (N, C, H, W)."""
        return self.network(normalise(images, self.mean, self.std))


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images uint8 (N, H, W, 3) BGR -> float32 (N, 3, H, W) RGB; mean and std (3,) of red, green, blue in 0..255."""
    # (N, H, W, 3) permuted is channels_last.
    return ((images.flip(-1).float() - mean) / std).permute(0, 3, 1, 2)


def labelled_pixels(labels: Tensor) -> Tensor:
    """How many pixels of labels (N, H, W) are not void: float32, a scalar."""
    return (labels != VOID).float().sum()


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, mass: Tensor | None = None
) -> Tensor:
    """T^2 * KL(teacher || student) of the softmax at temperature T, the mean over the labelled pixels.

    Void pixels are left out: many of them are padding, of which a teacher has nothing to say. T^2 keeps the gradients'
    size beside the labels' loss whatever the temperature.

    Args:
        student: logits (N, C, H, W).
        teacher: logits (N, C, H, W), without gradient.
        labels: (N, H, W), 255 = void.
        temperature: T, above 0.
        mass: labelled pixels of the larger batch that this one is a part of; None: this batch stands alone.
    """
    target = F.log_softmax(teacher.float() / temperature, 1)
    guess = F.log_softmax(student.float() / temperature, 1)
    divergence = F.kl_div(guess, target, reduction="none", log_target=True).sum(1)
    if mass is None:
        mass = labelled_pixels(labels)
    return temperature**2 * (divergence * (labels != VOID)).sum() / mass.clamp(min=LEAST_MASS)
