"""A training recipe: all settings of a run, typed, read from YAML, with overrides by dotted key."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic
import yaml
from pydantic import Field

from lsabinet_core.data.augment import Augmentation
from lsabinet_core.errors import RecipeError
from lsabinet_core.files import read_text
from lsabinet_core.models.limits import SMALLEST_INPUT
from lsabinet_core.settings import Settings, first_problem
from lsabinet_core.share import share_directory

if TYPE_CHECKING:
    import torch

Decay = Annotated[float, Field(ge=0, lt=1)]
Length = Annotated[int, Field(ge=SMALLEST_INPUT)]
Mean = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(gt=0)]


class Optimizer(Settings):
    """Optimiser and its settings."""

    name: Literal["adam", "adamw", "muon", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0, description="base learning rate")
    weight_decay: float = Field(
        default=2e-4, ge=0, description="L2 penalty for adam and sgd, decoupled decay for adamw and muon"
    )
    betas: tuple[Decay, Decay] = Field(default=(0.9, 0.999), description="adam, adamw and muon")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="sgd and muon (0.95 is usual)")


class Schedule(Settings):
    """Linear warm-up multiplied by polynomial decay, per iteration."""

    warmup_iterations: int = Field(default=500, ge=0)
    warmup_factor: float = Field(
        default=1 / 3, gt=0, le=1, description="factor on the learning rate at the first iteration"
    )
    power: float = Field(default=0.9, gt=0)


class Distillation(Settings):
    """Knowledge distillation from a trained teacher."""

    teacher: str = Field(
        default="", description="weights file or name of shipped weights with the same classes; empty: none"
    )
    weight: float = Field(default=1.0, gt=0, description="weight of the distillation loss, relative to the label loss")
    temperature: float = Field(default=2.0, gt=0, description="softmax temperature of teacher and student")


class Recipe(Settings):
    """All settings that determine what a run computes."""

    description: str = ""
    model: str = Field(default="lsabinet", description="a name of `lsabinet models`")
    model_options: dict[str, bool] = Field(default_factory=dict)
    initial_weights: str = Field(
        default="",
        description="weights file or name of shipped weights to start from, of the same network or of one that shares "
        "most of its layers; empty: none",
    )
    loss: Literal["cross_entropy", "ohem"] = "cross_entropy"
    class_weights: bool = Field(
        default=True, description="weight each class by 1 / ln(1.10 + share) of the training pixels"
    )
    prior_adjustment: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="with class_weights: the saved network's logits are lowered by this * ln(weight)",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over all classes; 0: off"
    )
    ohem_threshold: float = Field(
        default=0.7, gt=0, lt=1, description="loss ohem: probability below which a pixel is hard"
    )
    ohem_min_kept: float = Field(
        default=1 / 16, ge=0, le=1, description="loss ohem: minimum share of the pixels to keep"
    )
    boundary_weight: float = Field(
        default=0.0, ge=0, description="extra weight of pixels near a class boundary; 0: off"
    )
    boundary_radius: int = Field(
        default=3, ge=1, le=64, description="width of the boundary band in pixels, to each side"
    )
    lovasz_weight: float = Field(default=0.0, ge=0, description="weight of an additional Lovász-softmax loss; 0: off")
    distillation: Distillation = Distillation()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    input_pipeline: Literal["auto", "workers", "resident"] = Field(
        default="auto",
        description="augment in worker processes or on the device; auto selects the device if it is a GPU and the data "
        "set fits into its memory",
    )
    batch_size: int = Field(default=16, ge=1, description="images per update, over all processes and micro-batches")
    accumulation: int = Field(default=1, ge=1, description="number of sequential micro-batches per batch")
    epochs: int = Field(default=1000, ge=1)
    seed: int = Field(default=1, ge=0, lt=2**63)
    input_size: tuple[Length, Length] = Field(
        default=(360, 480), description="(height, width) that the weights are meant for"
    )
    mean: tuple[Mean, Mean, Mean] = Field(default=(0.485, 0.456, 0.406), description="mean of R, G, B in 0..1")
    std: tuple[Deviation, Deviation, Deviation] = Field(
        default=(0.229, 0.224, 0.225), description="std of R, G, B in 0..1"
    )
    auxiliary_weight: float = Field(default=0.0, ge=0, description="loss weight of each auxiliary head; 0: no heads")
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged, validated weights; 0: no average"
    )
    clip_norm: float = Field(default=0.0, ge=0, description="maximum gradient L2 norm (gradient clipping); 0: off")
    max_skipped: int = Field(default=10, ge=1, description="consecutive non-finite steps after which the run stops")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="fp32",
        description="of the forward and backward pass; auto: bf16 if the device is faster in it; fp16 needs a GPU",
    )
    compile: bool = Field(default=False, description="compile the training step (torch.compile; needs a C++ compiler)")
    validate_epochs: int = Field(
        default=10, ge=1, description="epochs between validations; the last is always validated"
    )

    @property
    def fill(self) -> tuple[int, int, int]:
        """The mean colour, BGR in 0..255, that pads crops."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return blue, green, red

    @pydantic.model_validator(mode="after")
    def _crop_is_large_enough(self) -> "Recipe":
        if min(self.augmentation.crop_size) < SMALLEST_INPUT:
            height, width = self.augmentation.crop_size
            raise ValueError(
                f"augmentation.crop_size: expected at least {SMALLEST_INPUT}x{SMALLEST_INPUT}, got {height}x{width}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _batch_divides(self) -> "Recipe":
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"accumulation: expected a divisor of batch_size {self.batch_size}, got {self.accumulation}"
            )
        return self


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(path.stem for path in _recipe_folder().glob("*.yaml"))


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe and apply overrides.

    Args:
        name_or_path: one of ``recipe_names()``, or a YAML file with (some of) ``Recipe``'s keys.
        overrides: ``dotted.key=value``, the value in YAML: ``optimizer.lr=0.002``, ``augmentation.scales=[1, 1.5]``.

    Raises:
        RecipeError: the recipe or a key does not exist, or a value is not allowed; the message names the key.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _recipe_folder() / f"{name_or_path}.yaml"
    try:
        document = yaml.safe_load(read_text(path))
    except FileNotFoundError:
        raise RecipeError(
            f"no recipe {str(name_or_path)!r}: expected a .yaml file or one of {', '.join(recipe_names())}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{path}: expected keys and values, got {type(document).__name__}")
    _drop_removed(document)
    for override in overrides:
        _override(document, override)
    try:
        return Recipe.model_validate(document)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{path.name}: {first_problem(error, Recipe)}") from None


def check_device(recipe: Recipe, device: "torch.device", processes: int) -> None:
    """Raise RecipeError if the recipe cannot run on the ``torch.device`` with this number of processes."""
    if recipe.precision == "fp16" and device.type != "cuda":
        raise RecipeError(f"precision: fp16 needs a CUDA GPU, the device is {device.type}; choose bf16 or fp32")
    parts = processes * recipe.accumulation
    if recipe.batch_size % parts:
        raise RecipeError(
            f"batch_size: expected a multiple of {parts} (accumulation {recipe.accumulation} x {processes} processes), "
            f"got {recipe.batch_size}"
        )


def save_recipe(recipe: Recipe) -> str:
    """The recipe as YAML text with every key, readable by ``load_recipe``."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)


def _recipe_folder() -> Path:
    return share_directory() / "config" / "recipes"


def _drop_removed(document: dict) -> None:
    """Drop options that no longer exist, if switched off, so that recipes of earlier versions can be read."""
    augmentation = document.get("augmentation")
    if isinstance(augmentation, dict):
        for key in ("rare_class_crop", "cutmix", "classmix"):
            if augmentation.get(key) == 0:
                del augmentation[key]


def _override(document: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(part.strip() for part in key.split(".")):
        raise RecipeError(f"expected key=value, got {override!r}")
    *parents, last = key.strip().split(".")
    try:
        # No key accepts null, as which YAML reads an empty value.
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        raise RecipeError(f"{key}: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text.
        with contextlib.suppress(ValueError):
            value = float(value)
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise RecipeError(f"{key}: {parent} has no keys below it")
    document[last] = value
