"""A compiled step: one graph, with a gradient that is verified against the eager step's before it is used."""

import copy
import shutil

import pytest
import torch
from step_cases import CLASSES, EVERYTHING, Tiny, make_step, tiny, tiny_teacher, update
from torch import nn

from lsabinet_core.models.blocks import resize_bilinear
from lsabinet_core.training.losses import create_loss


def test_objective_compiles_without_graph_breaks(batch):
    images, labels = batch
    for name in ("cross_entropy", "ohem"):
        loss = create_loss(name, torch.ones(CLASSES), label_smoothing=0.1)
        step = make_step(tiny(), **EVERYTHING, loss=loss, teacher=tiny_teacher())
        labels = labels.long()
        for masses in (None, step.objective.masses(labels)):
            found = torch._dynamo.explain(step.objective._eager)(images, labels, masses)
            assert found.graph_break_count == 0, found.break_reasons
    torch.compiler.reset()


class Dropping(Tiny):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.2)

    def with_features(self, image):
        logits, features = super().with_features(image)
        return self.dropout(logits), features


@pytest.mark.parametrize("network", [Tiny, Dropping])
@pytest.mark.parametrize("wrong", [False, True])
def test_wrong_compiled_gradient_is_detected(batch, monkeypatch, network, wrong):
    def compile_wrongly(compute):
        def compiled(images, labels, masses):
            loss = compute(images, labels, masses)
            # The value is correct, but the gradient of the label loss is lost.
            return (loss - 1e-3 * loss).detach() + 1e-3 * -loss if wrong else loss

        return compiled

    torch.manual_seed(1)
    built = network()
    plain = make_step(copy.deepcopy(built))
    torch.manual_seed(5)
    expected = update(plain, batch)
    monkeypatch.setattr(torch, "compile", compile_wrongly)
    warnings = []
    step = make_step(built, compile=True, warn=warnings.append)
    torch.manual_seed(5)
    got = update(step, batch)
    assert step.objective.is_compiled is not wrong
    message = "the gradient of the compiled training step is wrong: the step runs uncompiled"
    assert warnings == [message] * wrong
    # The fallback draws the same dropout masks as the eager step.
    torch.testing.assert_close(got, expected)
    step(*batch)
    assert len(warnings) == wrong


class Enlarging(nn.Module):
    """A classifier followed by a bilinear resize by 8."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 16, 3, stride=8, padding=1, bias=False)
        self.classify = nn.Conv2d(16, CLASSES, 1, bias=False)

    def forward(self, image):
        return resize_bilinear(self.classify(self.features(image)), image.shape[-2:])


def test_gradient_check_waits_for_a_nonzero_gradient(batch, monkeypatch):
    """A batch without labelled pixels has no gradient to check."""
    monkeypatch.setattr(torch, "compile", lambda compute: lambda *arguments: compute(*arguments) * 3)
    images, labels = batch
    warnings = []
    step = make_step(tiny(), compile=True, warn=warnings.append)
    step(images, torch.full_like(labels, 255))
    assert step.objective.is_compiled
    assert warnings == []
    step(images, labels)
    assert not step.objective.is_compiled
    assert len(warnings) == 1


@pytest.mark.parametrize(("share", "agrees"), [(0.5, False), (1e-5, True)])
def test_missing_gradient_of_a_tensor(share, agrees):
    """The gradient of a tensor may be missing only if it is so small that it may be pure rounding."""
    step = make_step(tiny())
    shares = [1.0, share, 1.0, 1.0]
    expected = [part * torch.ones_like(p) / p.numel() ** 0.5 for part, p in zip(shares, step.network.parameters())]
    for index, (parameter, gradient) in enumerate(zip(step.network.parameters(), expected)):
        parameter.grad = gradient * (index != 1)
    assert step._agrees(expected) is agrees


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
def test_compiled_gradient_of_a_bilinear_resize():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 96, 128, 3), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (4, 96, 128), dtype=torch.uint8)
    network = Enlarging()
    warnings = []
    plain = make_step(copy.deepcopy(network))
    compiled = make_step(network, compile=True, warn=warnings.append)
    torch.compiler.reset()
    got, expected = (update(step, (images, labels)) for step in (compiled, plain))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    torch.compiler.reset()
    assert warnings == []
    assert compiled.objective.is_compiled


def test_missing_compiler_falls_back_to_eager(batch, monkeypatch, tmp_path):
    import torch._inductor.config

    expected = update(make_step(tiny()), batch)
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, str(tmp_path / "no_compiler")))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    warnings = []
    step = make_step(tiny(), compile=True, warn=warnings.append)
    got = update(step, batch)
    torch.testing.assert_close(got, expected)
    step(*batch)
    torch.compiler.reset()
    assert len(warnings) == 1
    assert "cannot be compiled and runs uncompiled: " in warnings[0]
    assert "compiler" in warnings[0]
