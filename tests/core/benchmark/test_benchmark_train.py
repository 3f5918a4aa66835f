"""``lsabinet benchmark train`` on tiny crops: its figures are consistent, and both steps compute the same."""

import json
from collections import namedtuple

import pytest
import torch

from lsabinet_core.benchmark import training
from lsabinet_core.cli import main
from lsabinet_core.labels import CAMVID
from lsabinet_core.training.batches import SampleCache
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.step import GradientStep

Loss = namedtuple("Loss", "loss")
TINY = ["augmentation.crop_size=[64, 64]", "batch_size=2", "input_size=[72, 96]", "compile=false", "precision=fp32"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def verb(monkeypatch):
    monkeypatch.setattr("lsabinet_core.cli.VERBS", ("benchmark",))


def create_steps(recipe, folder, warn):
    data = training.RandomImages(2, recipe.input_size, CAMVID)
    return training.create_steps(recipe, data, SampleCache(data), folder, CPU, warn)


@pytest.mark.parametrize("lovasz_weight", [0, 1])
def test_both_steps_have_equal_losses(tmp_path, lovasz_weight):
    """Equal losses over three fp32 steps, up to rounding; otherwise the comparison would be meaningless."""
    settings = [*TINY, "ema_decay=0", "schedule.warmup_iterations=0", f"lovasz_weight={lovasz_weight}"]
    recipe = load_recipe("camvid", settings)
    warnings = []
    ours, plain = create_steps(recipe, tmp_path, warnings.append)
    images, labels = training.random_batch(recipe, CAMVID)
    expected = [plain(images, labels) for _ in range(3)]
    assert expected[2] < expected[0]
    assert [ours(images, labels) for _ in range(3)] == pytest.approx(expected, rel=2e-3)
    assert not warnings


def test_measured_iteration_is_that_of_the_trainer(tmp_path, monkeypatch):
    """Ensures that the benchmark measures what `lsabinet train` runs."""
    calls = []
    monkeypatch.setattr(training.Trainer, "iterate", lambda self, *arguments: calls.append(arguments) or (0, Loss(7)))
    ours, _ = create_steps(load_recipe("camvid", TINY), tmp_path, print)
    assert ours("images", "labels") == 7
    assert calls[0][1:3] == ("images", "labels")
    assert isinstance(calls[0][0], GradientStep)


def test_plain_step_is_eager_fp32_nchw(tmp_path):
    recipe = load_recipe("camvid", TINY)
    _, plain = create_steps(recipe, tmp_path, print)
    layouts, dtypes = [], []

    def look(_module, inputs, output):
        layouts.append(inputs[0].is_contiguous())
        dtypes.append(output.dtype)

    plain.network.network.backbone.register_forward_hook(lambda m, inputs, out: look(m, inputs, out[1]))
    plain(*training.random_batch(recipe, CAMVID))
    assert layouts == [True]
    assert dtypes == [torch.float32]
    assert all(parameter.is_contiguous() for parameter in plain.network.parameters())


def test_the_command(tmp_path, capsys):
    options = [word for setting in TINY[:1] + TINY[2:4] for word in ("--set", setting)]
    path = tmp_path / "figures.json"
    command = ["benchmark", "train", "--recipe", "camvid", *options, "--set", "precision=bf16"]
    command += ["--set", "lovasz_weight=1"]
    command += ["--batch", "2", "--rounds", "2", "--threads", "1", "--workers", "0", "--device", "cpu"]
    assert main([*command, "--json", str(path)]) == 0
    figures = json.loads(path.read_text())
    for name in ("lsabinet", "plain"):
        row = figures[name]
        assert len(row["times_ms"]) == 2
        assert row["step_ms"] == pytest.approx(sum(row["times_ms"]) / 2, abs=2e-3)
        assert row["images_per_s"] == pytest.approx(2000 / row["step_ms"], rel=1e-3)
        assert row["first_step_s"] > 0
    assert figures["speedup"] == pytest.approx(figures["plain"]["step_ms"] / figures["lsabinet"]["step_ms"], rel=1e-3)
    assert figures["pipeline_images_per_s"] > figures["training"]["images_per_s"] > 0
    assert 0 < figures["training"]["waiting"] < 1
    assert figures["training"]["device_busy"] is None
    assert figures["settings"]["precision"] == "bf16"
    assert figures["settings"]["crop_size"] == [64, 64]
    assert figures["machine"]["threads"] == 1
    assert figures["machine"]["versions"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    for text in (
        f"ratio {figures['speedup']:.2f}",
        "bf16, channels last, eager",
        "fp32, NCHW",
        "64x64",
        "Lovász",
        "1 threads",
    ):
        assert text in printed


def test_gpu_time_of_steps(monkeypatch):
    clock = iter([10.0, 15.0, 21.0, 29.0])

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(clock)

        def elapsed_time(self, end):
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    spans = []
    for _ in range(2):
        with training._device_time(torch.device("cuda"), spans):
            pass
    assert [begin.elapsed_time(end) for begin, end in spans] == [5.0, 8.0]


def test_invalid_arguments(capsys):
    assert main(["benchmark", "train", "--set", "optimizer.rate=1"]) == 1
    assert "unknown key 'optimizer.rate'" in capsys.readouterr().err
    for command in (["benchmark", "tea"], ["benchmark", "train", "--rounds", "0"]):
        with pytest.raises(SystemExit) as leaving:
            main(command)
        assert leaving.value.code == 2
