"""A training recipe: every setting of a run, typed, read from YAML, with overrides by dotted key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml
from pydantic import Field

from lsabinet_core.data.augment import Augmentation
from lsabinet_core.errors import RecipeError
from lsabinet_core.models.blocks import SMALLEST_INPUT
from lsabinet_core.settings import Settings, first_problem
from lsabinet_core.share import share_directory

Decay = Annotated[float, Field(ge=0, lt=1)]
Length = Annotated[int, Field(ge=SMALLEST_INPUT)]
Deviation = Annotated[float, Field(gt=0)]


class Optimizer(Settings):
    """Gradient descent."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(1e-3, gt=0, description="base learning rate")
    weight_decay: float = Field(2e-4, ge=0, description="L2 penalty for adam and sgd, decoupled decay for adamw")
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="adam and adamw")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd")


class Schedule(Settings):
    """Linear warm-up times polynomial decay, per iteration."""

    warmup_iterations: int = Field(500, ge=0)
    warmup_factor: float = Field(1 / 3, gt=0, le=1, description="share of the learning rate at the first iteration")
    power: float = Field(0.9, gt=0)


class Distillation(Settings):
    """Learning from a trained network's opinion beside the labels."""

    teacher: str = Field("", description="weights file, or name of shipped weights, of the same classes; empty: none")
    weight: float = Field(1.0, gt=0, description="of the teacher's loss beside the labels'")
    temperature: float = Field(2.0, gt=0, description="softens both networks' probabilities")


class Recipe(Settings):
    """Everything that decides what a run computes."""

    description: str = ""
    model: str = Field("lsabinet", description="a name of `lsabinet models`")
    model_options: dict[str, bool] = Field(default_factory=dict)
    initial_weights: str = Field(
        "", description="weights file, or name of shipped weights, of the same network to start from; empty: none"
    )
    loss: Literal["cross_entropy", "ohem"] = "cross_entropy"
    class_weights: bool = Field(True, description="1 / ln(1.10 + share) of each class in the training split")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes; 0: off")
    ohem_threshold: float = Field(0.7, gt=0, lt=1, description="loss ohem: probability under which a pixel is hard")
    ohem_min_kept: float = Field(1 / 16, ge=0, le=1, description="loss ohem: share of the pixels that is kept at least")
    boundary_weight: float = Field(0.0, ge=0, description="added weight of pixels near a boundary of classes; 0: off")
    boundary_radius: int = Field(3, ge=1, le=64, description="how near, in pixels")
    distillation: Distillation = Distillation()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    input_pipeline: Literal["auto", "workers", "resident"] = Field(
        "auto", description="augment in processes, or on the device that holds the data set; auto: whichever suits"
    )
    batch_size: int = Field(16, ge=1, description="images of one update, over all processes and micro-batches")
    accumulation: int = Field(1, ge=1, description="micro-batches that a batch is computed in, one after the other")
    epochs: int = Field(1000, ge=1)
    seed: int = Field(1, ge=0)
    input_size: tuple[Length, Length] = Field((360, 480), description="(height, width) that the weights are meant for")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="of R, G, B in 0..1")
    std: tuple[Deviation, Deviation, Deviation] = Field((0.229, 0.224, 0.225), description="of R, G, B in 0..1")
    auxiliary_weight: float = Field(0.0, ge=0, description="weight of the loss of each auxiliary head; 0: no heads")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="of the averaged weights, which are validated; 0: no average")
    clip_norm: float = Field(0.0, ge=0, description="longest gradient, longer ones are scaled down to it; 0: off")
    max_skipped: int = Field(10, ge=1, description="steps in a row that are not finite, at which the run stops")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="of the forward and backward pass; auto: bf16 where the device computes in it; fp16 needs a GPU",
    )
    compile: bool = Field(False, description="compile the training step (torch.compile; needs a C++ compiler)")
    validate_epochs: int = Field(10, ge=1, description="validate every so many epochs, and after the last")

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
    """Read a recipe and apply overrides.

    Args:
        name_or_path: one of ``recipe_names()``, or a YAML file with (some of) ``Recipe``'s keys.
        overrides: ``dotted.key=value``, the value in YAML: ``optimizer.lr=0.002``, ``augmentation.scales=[1, 1.5]``.

    Raises:
        RecipeError: no such recipe, a key that does not exist or a value that is not allowed; names the key.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _recipe_folder() / f"{name_or_path}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"no recipe {str(name_or_path)!r}: expected a .yaml file or one of {', '.join(recipe_names())}"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{path}: expected keys and values, got {type(document).__name__}")
    for override in overrides:
        _override(document, override)
    try:
        return Recipe.model_validate(document)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{path.name}: {first_problem(error, Recipe)}") from None


def save_recipe(recipe: Recipe) -> str:
    """The recipe with every key as YAML text that ``load_recipe`` reads."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=120)


def _recipe_folder() -> Path:
    return share_directory() / "config" / "recipes"


def _override(document: dict, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise RecipeError(f"expected key=value, got {override!r}")
    *parents, last = key.strip().split(".")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"{key}: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text.
        try:
            value = float(value)
        except ValueError:
            pass
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise RecipeError(f"{key}: {parent} has no keys below it")
    document[last] = value
