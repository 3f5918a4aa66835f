"""The deployed form of every network, and the Segmenter on top of it, match the original network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from zoo_networks import SIZE, UNPOOLING, normalised, patches, plain_logits, zoo_network

from lsabinet_core.inference import Segmenter
from lsabinet_core.inference.convert import torchscript
from lsabinet_core.inference.deploy import DeployedNetwork
from lsabinet_core.inference.deploy.static_shapes import StaticShapes
from lsabinet_core.inference.preprocess import stack_frames
from lsabinet_core.models import list_models

ODD_SIZE = (77, 101)

each_network = pytest.mark.parametrize("name", list_models())


# Operators that some engine lacks, or that a file for one size does not need.
UNWANTED = ("adaptive", "unpool", "with_indices", "batch_norm", "dropout", "Loop", "If")


@each_network
@torch.no_grad()
def test_deployed_and_traced_networks_match(name):
    network = zoo_network(name)
    # In fp64 rounding does not move the position of a maximum.
    dtype = torch.float64 if name in UNPOOLING else torch.float32
    model = copy.deepcopy(network.model).to(dtype)
    deployed = DeployedNetwork(model, network.metadata, dtype=dtype, static=True)
    # The trace that `lsabinet export --to torchscript` writes: made with one image, and run with two.
    script = torchscript.trace(deployed, 1, ODD_SIZE)
    kinds = {node.kind() for node in script.inlined_graph.nodes()}
    assert not {kind for kind in kinds if any(part in kind for part in UNWANTED)}
    for run, size in ((deployed, SIZE), (script, ODD_SIZE)):
        images = patches(2, size, seed=1)
        expected = model.low_resolution_logits(normalised(images, network.metadata).to(dtype))
        found = run(torch.from_numpy(images))
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-4 * (expected.max() - expected.min())


@each_network
@torch.no_grad()
def test_segmenter(name):
    network = zoo_network(name)
    tolerated = 0.05 if name in UNPOOLING else 2e-3
    options = {"backend": "torch", "device": "cpu", "input_size": SIZE, "threads": 1}
    with Segmenter(network.model, network.metadata, **options) as segmenter:
        assert segmenter.describe()["architecture"] == name
        # At the network's own size, the Segmenter upsamples logits of any size.
        (frame,) = patches(1, SIZE, seed=3)
        expected = network.model(normalised(frame[None], network.metadata)).argmax(1)[0].numpy()
        mask = segmenter.segment(frame).mask
        assert len(set(mask.ravel())) > 1
        assert (mask != expected).mean() < tolerated
        (frame,) = patches(1, (90, 131), seed=4)
        logits = plain_logits(network, stack_frames([frame], SIZE))
        expected = F.interpolate(logits, (90, 131), mode="bilinear").argmax(1)[0].numpy()
        assert (segmenter.segment(frame).mask != expected).mean() < tolerated


@pytest.mark.parametrize("size", [(12, 18), (13, 19)])
@pytest.mark.parametrize(("kernel_size", "padding"), [(2, 0), (3, 1)], ids=["segnet", "enet"])
def test_unpooling_by_comparison(kernel_size, padding, size):
    """Most windows have equal maxima, and some overlap: positions and values match PyTorch's."""
    x = torch.randint(-2, 1, (2, 3, *size), generator=torch.Generator().manual_seed(6)).float()
    expected, indices = F.max_pool2d(x, kernel_size, stride=2, padding=padding, return_indices=True)
    values = torch.randn(expected.shape)
    unpooled = F.max_unpool2d(values, indices, 2, output_size=size)
    with StaticShapes():
        maxima, found = F.max_pool2d(x, kernel_size, stride=2, padding=padding, return_indices=True)
        assert torch.equal(maxima, expected)
        assert torch.equal(found, indices)
        assert torch.equal(F.max_unpool2d(values, found, 2, output_size=size), unpooled)
