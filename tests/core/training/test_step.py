"""One step: loss and gradient against torch's own, whole and in parts; what is not finite leaves no trace."""

import copy
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.blocks import resize_bilinear
from lsabinet_core.models.weights import WeightsMetadata, save_weights
from lsabinet_core.training.auxiliary import Supervised, shrink_labels
from lsabinet_core.training.averaging import WeightAverage
from lsabinet_core.training.distillation import Teacher
from lsabinet_core.training.losses import CrossEntropy, boundary_band, create_loss
from lsabinet_core.training.recipe import Recipe
from lsabinet_core.training.step import GradientStep

CLASSES = 5
CPU = torch.device("cpu")


class Tiny(nn.Module):
    """A network whose parts of a batch do not influence each other: it has no batch normalisation."""

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


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, CLASSES, 3, padding=1), nn.BatchNorm2d(CLASSES))


@pytest.fixture
def batch():
    """Four images with ever fewer labelled pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 32, 40, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (4, 8, 10), generator=generator, dtype=torch.uint8)
    labels = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    for index in range(4):
        labels[index, : 9 * index] = 255
    return images, labels


def make_step(network, recipe=None, *, loss=None, teacher=None, warn=None, **settings):
    """A step of gradient descent whose update is the gradient."""
    recipe = recipe or Recipe(**settings)
    torch.manual_seed(3)
    supervised = Supervised(network, CLASSES, heads=recipe.auxiliary_weight > 0)
    if supervised.heads:
        # Without batch normalisation as the rest.
        supervised.heads[0] = nn.Conv2d(8, CLASSES, 1)
    optimizer = torch.optim.SGD(supervised.parameters(), lr=1.0)
    options = {"warn": warn} if warn else {}
    loss = loss or CrossEntropy(torch.tensor([1.0, 2.0, 0.5, 4.0, 3.0]))
    return GradientStep(supervised, loss, optimizer, recipe, CPU, teacher=teacher, **options)


def update(step, batch):
    """The loss, and what the step changed."""
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
    "distillation": {"teacher": "given", "weight": 0.7, "temperature": 3.0},
    "batch_size": 4,
}


def test_the_loss_is_the_sum_of_its_terms(batch):
    images, labels = batch
    step = make_step(tiny(), **EVERYTHING, teacher=tiny_teacher())
    rgb = images[..., [2, 1, 0]].permute(0, 3, 1, 2).double() / 255
    recipe = Recipe()
    network, head = step.network.network.double(), step.network.heads[0].double()

    def normalised(mean, std):
        return (rgb - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    image = normalised(recipe.mean, recipe.std)
    logits, (features,) = network(image), network.with_features(image)[1]
    labels = labels.long()
    weight = torch.tensor([1.0, 2.0, 0.5, 4.0, 3.0]).double()
    emphasis = (labels != 255) * (1 + 2 * boundary_band(labels, 2))
    pixel = F.cross_entropy(logits, labels, weight, ignore_index=255, reduction="none")
    mass = weight[labels.where(labels != 255, 0)]
    expected = (pixel * emphasis).sum() / (mass * emphasis).sum()
    shrunk = shrink_labels(labels, features.shape[-2:])
    expected = expected + 0.4 * F.cross_entropy(head(features), shrunk, weight, ignore_index=255)
    # Hinton et al.: the cross entropy of the softened probabilities, less the teacher's entropy.
    opinion = (tiny(9).double()(normalised((0.3, 0.4, 0.5), (0.2, 0.2, 0.3))) / 3).softmax(1)
    divergence = (opinion * (opinion.log() - (logits / 3).log_softmax(1))).sum(1)[labels != 255].mean()
    expected = expected + 0.7 * 9 * divergence
    step.network.float()
    loss, finite, _ = step(*batch)
    assert finite
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_is_the_joined_batch(batch, accumulation):
    loss, gradient = update(make_step(tiny(), **EVERYTHING, teacher=tiny_teacher()), batch)
    parts = make_step(tiny(), **EVERYTHING, accumulation=accumulation, teacher=tiny_teacher())
    got, accumulated = update(parts, batch)
    torch.testing.assert_close(got, loss)
    torch.testing.assert_close(accumulated, gradient, rtol=1e-4, atol=1e-6)
    assert gradient.norm() > 0.1
    # The mean of the parts' means would be another.
    size = 4 // accumulation
    means = [
        update(make_step(tiny(), **EVERYTHING, teacher=tiny_teacher()), [part[i : i + size] for part in batch])[0]
        for i in range(0, 4, size)
    ]
    assert abs(sum(means) / accumulation - loss) > 1e-3


def test_a_last_batch_smaller_than_the_micro_batches(batch):
    single = [part[:1] for part in batch]
    expected = update(make_step(tiny(), batch_size=4), single)
    got = update(make_step(tiny(), batch_size=4, accumulation=4), single)
    torch.testing.assert_close(got[1], expected[1])


def test_clipping_shortens_the_gradient(batch):
    _, gradient = update(make_step(tiny()), batch)
    _, clipped = update(make_step(tiny(), clip_norm=0.25), batch)
    assert gradient.norm() > 0.5
    torch.testing.assert_close(clipped, 0.25 * gradient / gradient.norm(), rtol=1e-4, atol=1e-6)
    _, long_enough = update(make_step(tiny(), clip_norm=1e6), batch)
    torch.testing.assert_close(long_enough, gradient)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_what_is_not_finite_leaves_no_trace(batch, accumulation):
    class Broken(CrossEntropy):
        def forward(self, logits, labels, **options):
            return super().forward(logits, labels, **options) * float("nan")

    step = make_step(Normed(), loss=Broken(), accumulation=accumulation)
    before = {key: value.clone() for key, value in step.network.state_dict().items()}
    loss, finite, _ = step(*batch)
    assert not finite and loss.isnan()
    assert all(torch.equal(value, before[key]) for key, value in step.network.state_dict().items())
    step.objective.loss = CrossEntropy()
    assert step(*batch).finite
    after = step.network.state_dict()
    assert after["network.1.num_batches_tracked"] == accumulation
    assert not torch.equal(after["network.1.running_mean"], before["network.1.running_mean"])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_a_device_that_is_not_waited_for(batch, kind):
    """As on a GPU: what it decides for itself is what the host would have, in the average, too."""

    class SometimesBroken(CrossEntropy):
        wrong = False

        def forward(self, logits, labels, **options):
            return super().forward(logits, labels, **options) * (float("nan") if self.wrong else 1.0)

    results = []
    for waits in (True, False):
        torch.manual_seed(4)
        step = make_step(Normed(), loss=SometimesBroken(), clip_norm=0.5)
        step.optimizer = kind(step.network.parameters(), lr=0.01, fused=True)
        average = WeightAverage(step.network.network, 0.9)
        step._waits = waits
        finite = []
        for number in range(6):
            step.objective.loss.wrong = number in (0, 3, 4)
            outcome = step(*batch)
            average.update(step.network.network, outcome.finite)
            finite.append(bool(outcome.finite))
            assert not outcome.overflowed
        assert finite == [False, True, True, False, False, True]
        assert not hasattr(step.optimizer, "found_inf")
        states = step.optimizer.state.values()
        results.append({**step.network.state_dict(), **average.state_dict(), "steps": [s["step"] for s in states]})
    expected, got = results
    assert expected.pop("steps") == got.pop("steps") == [3] * 4
    assert got["updates"] == 3 and got["network.1.num_batches_tracked"] == 3
    assert all(torch.equal(value, got[key]) for key, value in expected.items())


class LossScale:
    """What a step needs of fp16's GradScaler, which a CPU has not."""

    def __init__(self, scale):
        self.factor = scale

    def is_enabled(self):
        return True

    def scale(self, value):
        return value * self.factor

    def unscale_(self, optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= self.factor

    def update(self):
        pass


def test_an_overflow_is_told_from_what_no_scale_mends(batch):
    step = make_step(tiny())
    expected = update(make_step(tiny()), batch)
    for scale in (2.0, 1.0):
        step.scaler = LossScale(scale)
        # Beyond what the loss's type holds: the gradient is infinite, the loss is not.
        handle = step.network.network.classify.bias.register_hook(lambda gradient: gradient * float("inf"))
        outcome = step(*batch)
        assert not outcome.finite and bool(outcome.overflowed) is (scale > 1)
        handle.remove()
    step.scaler = LossScale(1024.0)
    torch.testing.assert_close(update(step, batch), expected)


def test_a_teacher_is_never_taught(batch):
    teacher = Teacher(Normed(), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    step = make_step(tiny(), **EVERYTHING, teacher=teacher)
    step.objective.train()
    step(*batch)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_teacher_from_a_file(tmp_path):
    network = create_model("lsabinet", 11, svfm=False)
    metadata = WeightsMetadata(
        "lsabinet", CAMVID, (64, 96), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), options={"svfm": False}, dataset="none"
    )
    path = tmp_path / "teacher.safetensors"
    save_weights(path, network, metadata, dtype=torch.float32)
    teacher = Teacher.load(str(path), CAMVID)
    images = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    rgb = images[..., [2, 1, 0]].permute(0, 3, 1, 2).float() / 255
    normalised = (rgb - torch.tensor(metadata.mean).view(3, 1, 1)) / torch.tensor(metadata.std).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(teacher(images), network.eval()(normalised), rtol=1e-3, atol=1e-2)
    with pytest.raises(RecipeError, match="distillation.teacher: expected weights with the 19 classes of .*got the 11"):
        Teacher.load(str(path), CITYSCAPES)


def test_the_average_by_hand():
    model = Normed()
    model[1].num_batches_tracked += 7
    average = WeightAverage(model, decay=0.9)
    first, second = model[0].bias.detach().clone(), torch.arange(5.0)
    with torch.no_grad():
        model[0].bias.copy_(second)
    average.update(model)
    # The first update keeps 1 / 10, the second 2 / 11.
    expected = 0.1 * first + 0.9 * second
    torch.testing.assert_close(average.module[0].bias, expected)
    model[1].num_batches_tracked += 1
    average.update(model, torch.tensor(False))
    torch.testing.assert_close(average.module[0].bias, expected)
    average.update(model, torch.tensor(True))
    torch.testing.assert_close(average.module[0].bias, 2 / 11 * expected + 9 / 11 * second)
    assert average.module[1].num_batches_tracked == 8


def test_the_objective_compiles_in_one_piece(batch):
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
def test_a_compiled_gradient_that_is_wrong_is_noticed(batch, monkeypatch, network, wrong):
    def compile_wrongly(compute):
        def compiled(images, labels, masses):
            loss = compute(images, labels, masses)
            # The value is right, the gradient of the labels' part is lost.
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
    message = "the compiled training step has another gradient than the network: it runs uncompiled"
    assert warnings == [message] * wrong
    # With the masks of the uncompiled step, too.
    torch.testing.assert_close(got, expected)
    step(*batch)
    assert len(warnings) == wrong


class Enlarging(nn.Module):
    """A classifier behind which a bilinear resize by 8 follows."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 16, 3, stride=8, padding=1, bias=False)
        self.classify = nn.Conv2d(16, CLASSES, 1, bias=False)

    def forward(self, image):
        return resize_bilinear(self.classify(self.features(image)), image.shape[-2:])


def test_the_check_waits_for_a_gradient(batch, monkeypatch):
    """A batch without a labelled pixel has none."""
    monkeypatch.setattr(torch, "compile", lambda compute: lambda *arguments: compute(*arguments) * 3)
    images, labels = batch
    warnings = []
    step = make_step(tiny(), compile=True, warn=warnings.append)
    step(images, torch.full_like(labels, 255))
    assert step.objective.is_compiled and warnings == []
    step(images, labels)
    assert not step.objective.is_compiled and len(warnings) == 1


@pytest.mark.parametrize(("share", "agrees"), [(0.5, False), (1e-5, True)])
def test_a_lost_part_of_the_gradient(share, agrees):
    """What is no more than rounding may be missing."""
    step = make_step(tiny())
    shares = [1.0, share, 1.0, 1.0]
    expected = [part * torch.ones_like(p) / p.numel() ** 0.5 for part, p in zip(shares, step.network.parameters())]
    for index, (parameter, gradient) in enumerate(zip(step.network.parameters(), expected)):
        parameter.grad = gradient * (index != 1)
    assert step._agrees(expected) is agrees


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
def test_the_compiled_gradient_of_a_resize():
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
    assert warnings == [] and compiled.objective.is_compiled


def test_without_a_compiler_it_runs_uncompiled(batch, monkeypatch, tmp_path):
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
    assert len(warnings) == 1 and "cannot be compiled and runs uncompiled: " in warnings[0]
    assert "compiler" in warnings[0]


def bf16_cosines(network):
    """Between the gradient that a step in bf16 gives each depthwise or dilated convolution and the one that fp32
    computes from what went in and what came back."""
    seen, references = {}, {}

    def keep_input(module, inputs, _output):
        seen[module] = inputs[0].detach().float()

    def differentiate(module, _to_input, to_output):
        shape, gradient = module.weight.shape, to_output[0].float()
        references[module] = torch.nn.grad.conv2d_weight(
            seen[module], shape, gradient, module.stride, module.padding, module.dilation, module.groups
        )

    convolutions = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and (module.groups == module.in_channels > 1 or max(module.dilation) > 1)
    }
    for module in convolutions.values():
        module.register_forward_hook(keep_input)
        module.register_full_backward_hook(differentiate)
    generator = torch.Generator().manual_seed(5)
    # 36x48 at 1/4: of the sizes at which oneDNN's gradient was found to be wrong, the smallest.
    images = torch.randint(0, 256, (2, 144, 192, 3), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 11, (2, 144, 192), generator=generator, dtype=torch.uint8)
    supervised = Supervised(network, 11, heads=False).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(supervised.parameters(), lr=0.0)
    GradientStep(supervised, CrossEntropy(), optimizer, Recipe(precision="bf16"), CPU)(images, labels)
    return {
        name: F.cosine_similarity(references[module].flatten(), module.weight.grad.flatten(), dim=0).item()
        for name, module in convolutions.items()
    }


# LSA-BiNet: four in each of nine blocks, two in SVFM, one in RCAD. ESPNet: four in each of 13 modules. EDANet: two in
# each of ten.
@pytest.mark.parametrize(("name", "count"), [("lsabinet", 39), ("espnet", 52), ("edanet", 20)])
def test_bf16_gradients(name, count):
    torch.manual_seed(6)
    cosines = bf16_cosines(create_model(name, 11))
    assert len(cosines) == count
    assert min(cosines.values()) > 0.95, cosines
