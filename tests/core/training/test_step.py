"""One step: loss and gradient against PyTorch's own, whole and accumulated; non-finite steps change nothing."""

import pytest
import torch
import torch.nn.functional as F
from step_cases import CLASSES, CPU, EVERYTHING, make_step, tiny, tiny_teacher, update
from torch import nn

from lsabinet_core.errors import RecipeError
from lsabinet_core.labels import CAMVID, CITYSCAPES
from lsabinet_core.models import create_model
from lsabinet_core.models.weights import WeightsMetadata, save_weights
from lsabinet_core.training.auxiliary import Supervised, shrink_labels
from lsabinet_core.training.averaging import WeightAverage
from lsabinet_core.training.distillation import Teacher
from lsabinet_core.training.losses import CrossEntropy, boundary_band, lovasz_softmax
from lsabinet_core.training.recipe import Recipe
from lsabinet_core.training.step import GradientStep


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, CLASSES, 3, padding=1), nn.BatchNorm2d(CLASSES))


def test_loss_is_the_weighted_sum_of_its_terms(batch):
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
    expected = expected + 0.6 * lovasz_softmax(logits, labels)
    shrunk = shrink_labels(labels, features.shape[-2:])
    expected = expected + 0.4 * F.cross_entropy(head(features), shrunk, weight, ignore_index=255)
    # Hinton et al.: cross entropy of the softened probabilities, minus the entropy of the teacher.
    teacher = (tiny(9).double()(normalised((0.3, 0.4, 0.5), (0.2, 0.2, 0.3))) / 3).softmax(1)
    divergence = (teacher * (teacher.log() - (logits / 3).log_softmax(1))).sum(1)[labels != 255].mean()
    expected = expected + 0.7 * 9 * divergence
    step.network.float()
    loss, finite, _ = step(*batch)
    assert finite
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulation_matches_the_joined_batch(batch, accumulation):
    # The Lovász loss sorts the pixels of each micro-batch on their own.
    adding = EVERYTHING | {"lovasz_weight": 0.0}
    loss, gradient = update(make_step(tiny(), **adding, teacher=tiny_teacher()), batch)
    parts = make_step(tiny(), **adding, accumulation=accumulation, teacher=tiny_teacher())
    got, accumulated = update(parts, batch)
    torch.testing.assert_close(got, loss)
    torch.testing.assert_close(accumulated, gradient, rtol=1e-4, atol=1e-6)
    assert gradient.norm() > 0.1
    # Micro-batches with different numbers of labelled pixels: the mean of their means would differ.
    size = 4 // accumulation
    means = [
        update(make_step(tiny(), **adding, teacher=tiny_teacher()), [part[i : i + size] for part in batch])[0]
        for i in range(0, 4, size)
    ]
    assert abs(sum(means) / accumulation - loss) > 1e-3


def test_lovasz_of_micro_batches_is_averaged_by_the_weight_of_their_pixels(batch):
    step = make_step(tiny(), batch_size=4, accumulation=2)
    with_lovasz = make_step(tiny(), batch_size=4, accumulation=2, lovasz_weight=0.5)
    parts = [(images, labels.long()) for images, labels in zip(*(part.tensor_split(2) for part in batch), strict=True)]
    masses = torch.stack([step.objective.masses(labels)[0] for _, labels in parts])
    mean, std = (torch.tensor(values) for values in (Recipe().mean, Recipe().std))
    with torch.no_grad():
        logits = [tiny()(((part[..., [2, 1, 0]] / 255 - mean) / std).permute(0, 3, 1, 2)) for part, _ in parts]
    lovasz = torch.stack([lovasz_softmax(its, labels) for its, (_, labels) in zip(logits, parts, strict=True)])
    expected = 0.5 * (lovasz * masses).sum() / masses.sum()
    torch.testing.assert_close(with_lovasz(*batch)[0] - step(*batch)[0], expected, rtol=1e-4, atol=1e-5)


def test_batch_smaller_than_accumulation(batch):
    single = [part[:1] for part in batch]
    expected = update(make_step(tiny(), batch_size=4), single)
    got = update(make_step(tiny(), batch_size=4, accumulation=4), single)
    torch.testing.assert_close(got[1], expected[1])


def test_clipping_limits_the_gradient_norm(batch):
    _, gradient = update(make_step(tiny()), batch)
    _, clipped = update(make_step(tiny(), clip_norm=0.25), batch)
    assert gradient.norm() > 0.5
    torch.testing.assert_close(clipped, 0.25 * gradient / gradient.norm(), rtol=1e-4, atol=1e-6)
    _, long_enough = update(make_step(tiny(), clip_norm=1e6), batch)
    torch.testing.assert_close(long_enough, gradient)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_non_finite_step_changes_nothing(batch, accumulation):
    class Broken(CrossEntropy):
        def forward(self, logits, labels, **options):
            return super().forward(logits, labels, **options) * float("nan")

    step = make_step(Normed(), loss=Broken(), accumulation=accumulation)
    before = {key: value.clone() for key, value in step.network.state_dict().items()}
    loss, finite, _ = step(*batch)
    assert not finite
    assert loss.isnan()
    assert all(torch.equal(value, before[key]) for key, value in step.network.state_dict().items())
    step.objective.loss = CrossEntropy()
    assert step(*batch).finite
    after = step.network.state_dict()
    assert after["network.1.num_batches_tracked"] == accumulation
    assert not torch.equal(after["network.1.running_mean"], before["network.1.running_mean"])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_skipping_without_synchronisation(batch, kind):
    """As on a GPU: the decision made on the device matches the host's, for the weight average as well."""

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
    assert got["updates"] == 3
    assert got["network.1.num_batches_tracked"] == 3
    assert all(torch.equal(value, got[key]) for key, value in expected.items())


class LossScale:
    """The part of fp16's GradScaler that a step uses; CPUs do not have it."""

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


def test_scale_overflow_is_told_from_divergence(batch):
    step = make_step(tiny())
    expected = update(make_step(tiny()), batch)
    for scale in (2.0, 1.0):
        step.scaler = LossScale(scale)
        # Beyond the range of fp16: the gradient is infinite, but the loss is not.
        handle = step.network.network.classify.bias.register_hook(lambda gradient: gradient * float("inf"))
        outcome = step(*batch)
        assert not outcome.finite
        assert bool(outcome.overflowed) is (scale > 1)
        handle.remove()
    step.scaler = LossScale(1024.0)
    torch.testing.assert_close(update(step, batch), expected)


def test_teacher_is_frozen(batch):
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
    with pytest.raises(
        RecipeError, match=r"distillation.teacher: expected weights with the 19 classes of .*got the 11"
    ):
        Teacher.load(str(path), CITYSCAPES)


def test_average_matches_hand_computed_values():
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


def bf16_cosines(network):
    """Cosines between the gradient of each depthwise or dilated convolution in a bf16 step and the fp32 gradient
    computed from the same input and output gradient."""
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
    # 36x48 at a scale of 1/4: the smallest of the sizes at which oneDNN's gradient was found to be wrong.
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
