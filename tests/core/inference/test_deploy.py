"""The deployed network has the same outputs as the original."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lsabinet_core.inference.convert import torchscript
from lsabinet_core.inference.deploy import DeployedNetwork, split_depthwise
from lsabinet_core.inference.deploy.depthwise import SplitDepthwise
from lsabinet_core.inference.deploy.fold import Affine, fold_batch_norms
from lsabinet_core.inference.deploy.pointwise import merge_projection
from lsabinet_core.inference.deploy.static_shapes import StaticShapes
from lsabinet_core.models import create_model, list_models


def randomise_norms(model: nn.Module) -> nn.Module:
    """Random statistics and factors as after training, including negative factors."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.track_running_stats:
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.3, 3)
            if module.affine:
                nn.init.normal_(module.weight, 0.8, 0.6)
                nn.init.normal_(module.bias, 0, 0.5)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("static", [False, True])
def test_deployed_network_matches_the_original(network, plain, images, static):
    deployed = DeployedNetwork(network.model, network.metadata, static=static)
    expected = plain(images)
    assert (deployed(torch.from_numpy(images)) - expected).abs().max() < 1e-5 * expected.abs().max()


class Operators(TorchDispatchMode):
    """Records the names of the operators that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **kwargs or {})


@torch.no_grad()
@pytest.mark.parametrize("name", list_models())
def test_no_host_transfers_per_frame(name, network):
    """A CUDA graph cannot contain such copies, and elsewhere each one would synchronise with the device."""
    deployed = DeployedNetwork(create_model(name, 5), network.metadata).eval().to("meta")
    with Operators() as operators:
        deployed(torch.empty(1, 104, 136, 3, dtype=torch.uint8, device="meta"))
    assert "aten.convolution.default" in operators.names
    # Indexing with a list, reading a scalar from a tensor, creating a tensor from Python numbers.
    hosts = ("aten.index.Tensor", "aten._local_scalar_dense.default", "aten.lift_fresh.default", "aten.nonzero.default")
    assert not {*operators.names} & {*hosts}


@torch.no_grad()
def test_merged_projection_needs_fewer_macs(network):
    deployed = DeployedNetwork(network.model, network.metadata).network
    svfm = deployed.svfm
    assert svfm.from_structure.weight.shape == (131, 259, 1, 1)
    assert svfm.from_detail.weight.shape == (131, 518, 1, 1)
    torch.manual_seed(3)
    model = create_model("lsabinet", 5).eval()
    # Biases and factors that differ from those of a new network.
    for parameter in (*model.svfm.parameters(), *model.decoder.project.parameters()):
        parameter.normal_(0, 0.2)
    x = torch.randn(2, 259, 11, 14)
    expected = model.decoder.project(model.svfm(x))
    merge_projection(model)
    found = model.decoder.project(model.svfm(x))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"lrfa": False, "svfm": False}, {"rcad": False}])
def test_folding_with_arbitrary_statistics(options):
    torch.manual_seed(0)
    model = randomise_norms(create_model("lsabinet", 5, **options))
    image = torch.randn(2, 3, 72, 88)
    expected = model.low_resolution_logits(image)
    folded = fold_batch_norms(model)
    found = folded.low_resolution_logits(image)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    # A normalisation used only by the preceding convolution is folded into it; any other becomes a single Affine.
    steps = sum(isinstance(module, Affine) for module in folded.modules())
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    alone = [name for name in norms if ".norm" in name or ".merge" in name]
    assert steps == len(alone) < len(norms)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class Awkward(nn.Module):
    """Convolutions and normalisations, some of which must be merged and some of which must not."""

    def __init__(self):
        super().__init__()
        self.used_twice = nn.Conv2d(3, 4, 3)
        self.norm_after_used_twice = nn.BatchNorm2d(4)
        self.called_twice = nn.Conv2d(4, 4, 1)
        self.norm_after_called_twice = nn.BatchNorm2d(4, affine=False)
        self.grouped = nn.Conv2d(4, 8, 3, groups=2, bias=False)
        self.norm_after_grouped = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.norm_after_up = nn.BatchNorm2d(6)
        self.of_the_image = nn.BatchNorm2d(6, track_running_stats=False)
        self.drop = nn.Dropout2d(0.5)

    def low_resolution_logits(self, image):
        x = self.used_twice(image)
        x = self.norm_after_used_twice(x) + x
        x = self.norm_after_called_twice(self.called_twice(self.called_twice(x)))
        x = self.norm_after_grouped(self.grouped(x))
        return self.drop(self.of_the_image(self.norm_after_up(self.up(x))))


@torch.no_grad()
def test_folding_is_limited_to_equivalent_cases():
    torch.manual_seed(1)
    model = randomise_norms(Awkward())
    image = torch.randn(2, 3, 64, 70)
    folded = fold_batch_norms(model)
    torch.testing.assert_close(
        folded.low_resolution_logits(image), model.low_resolution_logits(image), rtol=1e-4, atol=1e-4
    )
    kinds = {name: type(getattr(folded, name)) for name, _ in model.named_children() if "norm" in name}
    assert kinds == {
        "norm_after_used_twice": Affine,
        "norm_after_called_twice": Affine,
        "norm_after_grouped": nn.Identity,
        "norm_after_up": nn.Identity,
    }
    assert isinstance(folded.of_the_image, nn.BatchNorm2d)


@torch.no_grad()
def test_half_precision_accumulates_in_fp32(network, plain, images):
    deployed = DeployedNetwork(network.model, network.metadata, dtype=torch.float16, static=True)
    expected = plain(images)
    found = deployed(torch.from_numpy(images))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.02 * (expected.max() - expected.min())


@pytest.mark.parametrize("size", [(45, 60), (12, 17), (7, 7), (64, 96)])
@pytest.mark.parametrize("output", [(5, 7), (1, 1), (3, 6), (7, 7), 4, (None, 5)])
@pytest.mark.parametrize("pool", [F.adaptive_max_pool2d, F.adaptive_avg_pool2d])
def test_static_pooling_matches_adaptive_pooling(size, output, pool):
    x = torch.randn(2, 3, *size)
    expected = pool(x, output)
    with StaticShapes():
        found = pool(x, output)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "output_size"), [((12, 18), None), ((13, 19), (13, 19)), ((13, 19), (2, 3, 13, 19))])
def test_unpooling_matches_pytorch(size, output_size):
    x, indices = F.max_pool2d(torch.randn(2, 3, *size), 2, return_indices=True)
    expected = F.max_unpool2d(x, indices, 2, output_size=output_size)
    with StaticShapes():
        torch.testing.assert_close(F.max_unpool2d(x, indices, 2, output_size=output_size), expected)


def test_no_adaptive_pooling_remains(network):
    deployed = DeployedNetwork(network.model, network.metadata, static=True)
    script = torchscript.trace(deployed, 1, (104, 136))
    kinds = {node.kind() for node in script.inlined_graph.nodes()}
    assert "aten::max_pool2d" in kinds
    assert not {kind for kind in kinds if "adaptive" in kind or "batch_norm" in kind}


@torch.no_grad()
def test_depthwise_convolutions_with_more_outputs_are_split():
    torch.manual_seed(5)
    widening = nn.Conv2d(6, 18, 3, padding=1, groups=6), nn.Conv2d(18, 7, 1)
    others = nn.Conv2d(7, 7, 3, groups=7), nn.Conv2d(7, 5, 1), nn.Conv2d(5, 10, 3, groups=5), nn.GELU()
    model = nn.Module()
    model.network = nn.Sequential(*widening, nn.GELU(), *others)
    x = torch.randn(2, 6, 9, 11)
    expected = model.network(x)
    split_depthwise(model)
    torch.testing.assert_close(model.network(x), expected, rtol=1e-4, atol=1e-5)
    assert [type(module) for module in model.network[:3]] == [SplitDepthwise, nn.Identity, nn.GELU]
    assert [conv.weight.shape for conv in model.network[0].depthwise] == [(6, 1, 3, 3)] * 3
    assert tuple(model.network[3:]) == others
