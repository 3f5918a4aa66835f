"""Knowledge distillation from a trained teacher, per pixel (Hinton et al., 2015)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.labels import VOID, LabelSet
from lsabinet_core.models.weights import load_weights

from .losses import MIN_MASS


class Teacher(nn.Module):
    """A frozen, trained network with its own normalisation, always in evaluation mode.

    Args:
        network: images (N, 3, H, W) -> logits (N, C, H, W).
        mean: per-channel mean (red, green, blue) of images in 0..1.
        std: per-channel standard deviation (red, green, blue) of images in 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean) * 255)
        self.register_buffer("std", torch.tensor(std) * 255)

    @classmethod
    def load(cls, weights: str, label_set: LabelSet) -> "Teacher":
        """Load a teacher from a weights file or the name of shipped weights.

        Raises:
            WeightsError: the weights do not exist or the file is not a valid weights file.
            RecipeError: the classes of the weights are not those of ``label_set``.
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
    """Images uint8 (N, H, W, 3) BGR -> float32 (N, 3, H, W) RGB; mean and std (3,) in RGB order and 0..255."""
    # Permuting (N, H, W, 3) gives a tensor in channels_last layout.
    return ((images.flip(-1).float() - mean) / std).permute(0, 3, 1, 2)


def labelled_pixels(labels: Tensor) -> Tensor:
    """Number of non-void pixels in labels (N, H, W): float32, a scalar."""
    return (labels != VOID).float().sum()


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, mass: Tensor | None = None
) -> Tensor:
    """T^2 * KL(teacher || student) of the softmax at temperature T, averaged over the labelled pixels.

    Void pixels are ignored: many of them are padding, for which the teacher has no meaningful prediction. The factor
    T^2 keeps the gradient scale comparable to that of the label loss at any temperature.

    Args:
        student: logits (N, C, H, W).
        teacher: logits (N, C, H, W), without gradient.
        labels: (N, H, W), 255 = void.
        temperature: T, above 0.
        mass: normaliser: labelled pixels of the larger batch that contains this one; None: this batch's own.
    """
    target = F.log_softmax(teacher.float() / temperature, 1)
    guess = F.log_softmax(student.float() / temperature, 1)
    divergence = F.kl_div(guess, target, reduction="none", log_target=True).sum(1)
    if mass is None:
        mass = labelled_pixels(labels)
    return temperature**2 * (divergence * (labels != VOID)).sum() / mass.clamp(min=MIN_MASS)
