"""Recipes: shipped ones load and have the documented values; errors name the wrong key or value."""

import pytest

from lsabinet_core.errors import RecipeError
from lsabinet_core.training.recipe import Recipe, load_recipe, recipe_names, save_recipe


def test_all_shipped_recipes_load():
    assert {"paper_camvid", "camvid_cpu", "synthetic"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).description


def test_paper_recipes_have_the_values_of_the_paper():
    recipe = load_recipe("paper_camvid")
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.betas) == ("adam", 1e-3, (0.9, 0.999))
    assert recipe.optimizer.weight_decay == 2e-4
    assert (recipe.batch_size, recipe.epochs) == (16, 1000)
    assert recipe.schedule.model_dump() == {"warmup_iterations": 500, "warmup_factor": 1 / 3, "power": 0.9}
    assert recipe.augmentation.crop_size == (360, 480)
    assert recipe.augmentation.scales == (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    assert recipe.augmentation.mirror == 0.5
    assert recipe.loss == "cross_entropy"
    assert recipe.class_weights
    assert recipe.model == "lsabinet"
    assert not recipe.model_options


def test_overrides():
    changes = ["optimizer.lr=2e-3", "augmentation.scales=[1, 1.5]", "model_options.svfm=false", "seed=7"]
    recipe = load_recipe("paper_camvid", changes)
    assert recipe.optimizer.lr == 2e-3
    assert recipe.augmentation.scales == (1.0, 1.5)
    assert recipe.model_options == {"svfm": False}
    assert recipe.seed == 7
    assert recipe.optimizer.weight_decay == 2e-4


def test_an_empty_value_is_an_empty_text():
    assert load_recipe("camvid_cpu").initial_weights
    assert load_recipe("camvid_cpu", ["initial_weights="]).initial_weights == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=", "batch_size: input should be a valid integer.*, got ''"),
        ("optimizer.learning_rate=1", "unknown key 'optimizer.learning_rate'; allowed are name, lr, weight_decay"),
        ("=3", "expected key=value, got '=3'"),
        ("optimizer.=3", "expected key=value, got 'optimizer.=3'"),
        ("seed=9223372036854775808", "seed: input should be less than 9223372036854775808, got 9223372036854775808"),
        ("mean=[1e30, 0, 0]", "mean.0: "),
        ("optimizer=3", "optimizer: expected the keys name, lr, .*, got 3"),
        ("epoch=1", "unknown key 'epoch'; allowed are .*epochs"),
        ("optimizer.lr=-1", "optimizer.lr: input should be greater than 0, got -1"),
        ("optimizer.lr=.inf", "optimizer.lr: input should be a finite number, got inf"),
        ("std=[.inf, 1, 1]", "std.0: input should be a finite number, got inf"),
        ("loss=focal", "loss: input should be 'cross_entropy' or 'ohem', got 'focal'"),
        ("batch_size=many", "batch_size: .*'many'"),
        ("optimizer.lr.x=1", "optimizer.lr.x: lr has no keys below it"),
        ("seed", "expected key=value, got 'seed'"),
        ("augmentation.scales=[", "augmentation.scales"),
        ("accumulation=3", "accumulation: expected a divisor of batch_size 16, got 3"),
        ("precision=fp8", "precision: input should be 'auto', 'fp32', 'bf16' or 'fp16', got 'fp8'"),
        ("input_pipeline=magic", "input_pipeline: input should be 'auto', 'workers' or 'resident', got 'magic'"),
        ("ohem_threshold=1.5", "ohem_threshold: input should be less than 1, got 1.5"),
        ("distillation.teachers=a", "unknown key 'distillation.teachers'; allowed are teacher, weight, temperature"),
        ("distillation.temperature=0", "distillation.temperature: input should be greater than 0, got 0"),
        ("label_smoothing=1", "label_smoothing: input should be less than 1, got 1"),
        ("boundary_radius=0", "boundary_radius: input should be greater than or equal to 1, got 0"),
        ("max_skipped=0", "max_skipped: input should be greater than or equal to 1, got 0"),
        ("optimizer.betas=[2, 3]", "optimizer.betas.0: input should be less than 1, got 2"),
        ("input_size=[0, 480]", "input_size.0: input should be greater than or equal to 64, got 0"),
        ("augmentation.crop_size=[8, 8]", "augmentation.crop_size: expected at least 64x64, got 8x8"),
        ("std=[0, 1, 1]", "std.0: input should be greater than 0, got 0"),
        ("clip_norm=-1", "clip_norm: input should be greater than or equal to 0, got -1"),
    ],
)
def test_invalid_overrides(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("paper_camvid", [override])


def test_unknown_recipe_lists_the_names():
    with pytest.raises(RecipeError, match=r"no recipe 'best': .*camvid_cpu, paper_camvid, .*synthetic"):
        load_recipe("best")


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "just words"])
def test_invalid_recipe_files(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"mine.yaml"):
        load_recipe(path)


def test_saved_recipe_round_trips(tmp_path):
    recipe = load_recipe("camvid_cpu", ["seed=5", "distillation.teacher=big.safetensors", "accumulation=4"])
    (tmp_path / "saved.yaml").write_text(save_recipe(recipe))
    assert load_recipe(tmp_path / "saved.yaml") == recipe
    assert set(recipe.model_dump()) == set(Recipe.model_fields)


def test_removed_options_are_accepted_if_off(tmp_path):
    """Recipes of runs of earlier versions contain them, and these runs can be resumed."""
    path = tmp_path / "recipe.yaml"
    path.write_text("augmentation: {crop_size: [64, 96], cutmix: 0.0, classmix: 0, rare_class_crop: 0.0}\n")
    assert load_recipe(path).augmentation.crop_size == (64, 96)
    path.write_text("augmentation: {cutmix: 0.5}\n")
    with pytest.raises(RecipeError, match=r"unknown key 'augmentation.cutmix'"):
        load_recipe(path)
