"""Two CPU processes compute the same as one process with the whole batch, and do not wait for a dead process."""

import contextlib
import functools
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from lsabinet_core.cli import main
from lsabinet_core.data import open_dataset
from lsabinet_core.errors import RecipeError, TrainingError
from lsabinet_core.models import create_model
from lsabinet_core.training import distillation, distributed, objective, trainer
from lsabinet_core.training.auxiliary import Supervised
from lsabinet_core.training.batches import EpochShuffle, SampleCache, open_batches
from lsabinet_core.training.losses import class_weights, create_loss
from lsabinet_core.training.recipe import load_recipe
from lsabinet_core.training.run_folder import RunFolder
from lsabinet_core.training.step import GradientStep
from lsabinet_core.training.synchronised_norm import SynchronisedBatchNorm2d, synchronise_batch_norm
from lsabinet_core.training.trainer import Trainer

CPU = torch.device("cpu")
SECONDS = 240
CHANGES = [
    *("augmentation.crop_size=[64, 64]", "augmentation.scales=[0.75, 1.0]", "batch_size=4", "epochs=5"),
    *("validate_epochs=5", "schedule.warmup_iterations=4", "input_size=[72, 96]", "ema_decay=0.8"),
    *("auxiliary_weight=0.4", "boundary_weight=1", "label_smoothing=0.1"),
    *("optimizer.name=sgd", "optimizer.lr=0.0003", "model_options.svfm=false"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(work, *arguments) -> list:
    """Run ``work(rank, *arguments)`` in two processes with torchrun's environment; returns their results by rank."""
    # A fork server preloads the imports, which take longer than most of the work.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lsabinet_core.training.trainer"])
    results, port = context.Queue(), free_port()
    children = [context.Process(target=_child, args=(work, rank, port, results, arguments)) for rank in range(2)]
    for child in children:
        child.start()
    try:
        found = dict(results.get(timeout=SECONDS) for _ in children)
        for child in children:
            child.join(SECONDS)
    finally:
        for child in children:
            child.kill()
    return [found[rank] for rank in range(2)]


def _child(work, rank, port, results, arguments):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    try:
        results.put((rank, work(rank, *arguments)))
    except Exception as error:  # noqa: BLE001 - the parent reports it
        results.put((rank, f"{type(error).__name__}: {error}"))


def joined(work):
    """``work(rank, device, *arguments)`` in processes that have joined the process group."""
    return functools.partial(_joined, work)


def _joined(work, rank, *arguments):
    with distributed.processes(CPU) as device:
        return work(rank, device, *arguments)


def joined_input():
    generator = torch.Generator().manual_seed(1)
    # Means far from zero, at which computing a variance as a difference of fp32 squares would fail.
    return 3 * torch.randn(5, 4, 3, 6, generator=generator) + torch.tensor([0.0, 10, -300, 2000]).view(4, 1, 1)


def network():
    torch.manual_seed(2)
    model = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3, momentum=None)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def passes(model, x):
    """Run two training passes; returns output, gradients and state of the second."""
    for _ in range(2):
        model.zero_grad()
        own = x.clone().requires_grad_()
        output = model(own)
        # A cubic loss, because the gradient of a plain sum would vanish in the normalisation.
        (output**3).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return output.detach(), own.grad, gradients, model.state_dict()


def normalise_share(rank, device):
    model = network()
    names, parameters = list(model.state_dict()), list(model.parameters())
    synchronise_batch_norm(model, device)
    assert list(model.state_dict()) == names
    assert all(new is old for new, old in zip(model.parameters(), parameters))
    assert isinstance(model[1][1], SynchronisedBatchNorm2d)
    # The shares differ in size.
    output, gradient, gradients, state = passes(model, joined_input()[[slice(0, 2), slice(2, 5)][rank]])
    for value in gradients.values():
        distributed.total(value)
    as_numpy = {key: value.numpy() for key, value in state.items()}
    half = model.eval()(joined_input().bfloat16().float()).detach().numpy()
    return output.numpy(), gradient.numpy(), {key: value.numpy() for key, value in gradients.items()}, as_numpy, half


def test_batch_norm_matches_the_joined_batch():
    first, second = launch(joined(normalise_share))
    assert not isinstance(first, str), first
    model = network()
    output, gradient, gradients, state = passes(model, joined_input())
    for index, expected in enumerate((output, gradient)):
        got = torch.cat([torch.from_numpy(result[index]) for result in (first, second)])
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())
    for result in (first, second):
        for key, expected in gradients.items():
            torch.testing.assert_close(torch.from_numpy(result[2][key]), expected, rtol=1e-3, atol=1e-2)
        for key, expected in state.items():
            torch.testing.assert_close(torch.from_numpy(result[3][key]).to(expected.dtype), expected)
        torch.testing.assert_close(torch.from_numpy(result[4]), model.eval()(joined_input().bfloat16().float()))


def main_fails(rank, device):
    def work():
        raise TrainingError("the disk is full")

    answers = distributed.on_main(lambda: "done", device), distributed.is_main(), distributed.world_size()
    try:
        distributed.on_main(work, device)
    except TrainingError as error:
        return answers, str(error)


def one_dies(rank, device):
    if rank == 1:
        raise TrainingError("this one gives up")
    distributed.total(torch.ones(3))


def test_failure_stops_all_processes():
    first, second = launch(joined(main_fails))
    assert first == (("done", True, 2), "the disk is full")
    assert second == ((None, False, 2), "the main process of the run failed: see its error message")
    first, second = launch(joined(one_dies))
    assert first.startswith("TrainingError: another process of the run stopped or cannot be reached")
    assert second == "TrainingError: this one gives up"


def test_single_process():
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.on_main(lambda: 5, CPU) == 5
    assert distributed.total(torch.tensor([2.0])).item() == 2


def loss_curve(rank, device, root):
    """Losses of a run in fp64.

    In fp32 the untrained network is too chaotic: weights that differ by 1e-7 have gradients that differ by 1e-3, even
    in a single process.
    """
    objective.normalise = lambda *arguments: distillation.normalise(*arguments).double()
    recipe = load_recipe("synthetic", [*CHANGES, "clip_norm=3"])
    torch.manual_seed(1)
    network = Supervised(create_model("lsabinet", 11), 11, heads=True).double()
    if distributed.world_size() > 1:
        synchronise_batch_norm(network, device)
    cache = SampleCache(open_dataset("camvid", root, "train"))
    loss = create_loss("cross_entropy", torch.from_numpy(class_weights(cache.pixels)), label_smoothing=0.1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    step = GradientStep(network, loss, optimizer, recipe, device)
    shuffle = EpochShuffle(len(cache), 4, 5, 1, 0, distributed.rank(), distributed.world_size())
    batches = open_batches(cache, recipe, (0, 0, 0), shuffle, workers=0, device=device)
    return [float(step(images, labels)[0]) for images, labels in batches]


def test_loss_curve_of_two_processes_matches_one(small_camvid, monkeypatch):
    monkeypatch.setattr(objective, "normalise", objective.normalise)
    expected = loss_curve(0, CPU, small_camvid)
    assert len(expected) == 10
    assert expected[-1] < 0.95 * expected[0]
    first, second = launch(joined(loss_curve), small_camvid)
    assert first == second
    assert first == pytest.approx(expected, abs=1e-4)


def wrongly_compiled(rank, device, factor):
    """Changes and warnings of the first step if the compiled loss is ``factor`` times the correct one."""
    torch.compile = lambda compute: lambda *arguments: factor * compute(*arguments)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1))
    supervised = Supervised(model, 5, heads=False)
    synchronise_batch_norm(supervised, device)
    optimizer = torch.optim.SGD(supervised.parameters(), lr=1.0)
    recipe = load_recipe("synthetic", ["compile=true", "batch_size=4", "clip_norm=0"])
    warnings = []
    step = GradientStep(supervised, create_loss("cross_entropy", None), optimizer, recipe, device, warn=warnings.append)
    generator = torch.Generator().manual_seed(rank)
    images = torch.randint(0, 256, (2, 16, 24, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 5, (2, 16, 24), generator=generator, dtype=torch.uint8)
    step(images, labels)
    state = {name: value.numpy() for name, value in supervised.state_dict().items()}
    return state, step.objective.is_compiled, len(warnings)


def test_two_processes_detect_a_wrong_compiled_gradient():
    right, wrong = launch(joined(wrongly_compiled), 1.0), launch(joined(wrongly_compiled), 3.0)
    for (expected, *kept), (got, *given_up) in zip(right, wrong):
        assert kept == [True, 0]
        assert given_up == [False, 1]
        # The discarded steps left no trace, not even in the statistics.
        assert all(got[name] == pytest.approx(value, abs=1e-6) for name, value in expected.items())


@pytest.fixture(scope="module")
def alone(small_camvid, tmp_path_factory):
    """The run of a single process."""
    run = RunFolder(tmp_path_factory.mktemp("alone") / "run")
    recipe = load_recipe("synthetic", CHANGES)
    run.create(recipe, {})
    train, val = (open_dataset("camvid", small_camvid, split) for split in ("train", "val"))
    Trainer(recipe, train, val, run, device=CPU, workers=0).fit()
    return run


def command(root, out):
    data = ("--dataset", "camvid", "--root", str(root), "--out", str(out), "--device", "cpu")
    settings = [part for change in CHANGES for part in ("--set", change)]
    return ["train", *data, "--recipe", "synthetic", "--workers", "0", "--threads", "1", *settings]


def torchrun(*arguments):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "lsabinet_core.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def run_command(rank, arguments):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        return main(arguments), errors.getvalue()


def records(run, key):
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def test_torchrun(small_camvid, alone, tmp_path):
    run = RunFolder(tmp_path / "pair")
    result = torchrun(*command(small_camvid, run.path))
    assert result.returncode == 0, result.stderr
    losses = records(alone, "loss")
    assert len(losses) == 1
    # The run computes in fp32, in which losses deviate (see loss_curve).
    assert records(run, "loss") == pytest.approx(losses, abs=5e-3)
    expected, got = (torch.load(path.checkpoint, weights_only=True) for path in (alone, run))
    assert set(got["network"]) == set(expected["network"])
    for kind in ("network", "average"):
        for key, value in expected[kind].items():
            torch.testing.assert_close(got[kind][key], value, rtol=1e-2, atol=1e-2)
    assert records(run, "val")[0]["miou"] == pytest.approx(records(alone, "val")[0]["miou"], abs=0.01)
    # Only the main process prints.
    assert result.stdout.count("val mIoU") == 1
    assert json.loads((run.path / "run.json").read_text())["processes"] == 2

    (status, errors), (other_status, other_errors) = launch(run_command, command(small_camvid, run.path))
    assert status == other_status == 1
    assert "holds a finished run" in errors
    assert "the main process of the run failed" in other_errors


def test_batch_size_not_divisible_by_processes(small_camvid, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    train = open_dataset("camvid", small_camvid, "train")
    with pytest.raises(RecipeError, match=r"batch_size: expected a multiple of 3 .* 3 processes.*got 4"):
        Trainer(load_recipe("synthetic", CHANGES), train, train, RunFolder(tmp_path), device=CPU)


def stop_when_one_is_late(rank, device, root, out):
    trainer.LOG_ITERATIONS = 2
    small = [*CHANGES[:8], "model=espnet"]
    recipe = load_recipe("synthetic", small)
    run = RunFolder(out)
    distributed.on_main(lambda: run.create(recipe, {}), device)
    train, val = (open_dataset("camvid", root, split) for split in ("train", "val"))
    deadline = time.monotonic() + (0 if rank == 1 else 1e6)
    late = Trainer(recipe, train, val, run, device=device, workers=0, deadline=deadline)
    return late.fit(), late.iteration


def test_processes_stop_at_the_same_iteration(small_camvid, tmp_path):
    """If the clock of one process is ahead, both stop at the first iteration at which they log."""
    out = tmp_path / "run"
    assert launch(joined(stop_when_one_is_late), small_camvid, out) == [(None, 2), (None, 2)]
    assert (out / "checkpoint.pt").exists()
    assert not (out / "summary.json").exists()
