"""SegNet, SQNet, CGNet and ESPNetv2's encoder against pytorchcv's implementations: same weights, same outputs."""

import pytest
import torch
from oracles import copy_in_order, randomise
from pytorchcv.models.cgnet import cgnet_cityscapes
from pytorchcv.models.espnetv2 import ESPBlock, espnetv2_w2
from pytorchcv.models.segnet import segnet_cityscapes
from pytorchcv.models.sqnet import sqnet_cityscapes
from torch import Tensor, nn

from lsabinet_core.models import create_model
from lsabinet_core.models.blocks import BN_EPS

CLASSES = 11


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 96)


def declared(oracle: nn.Module) -> nn.Module:
    """Return the network itself: its layers are declared in our order."""
    return oracle


def sqnet_as_met(oracle: nn.Module) -> nn.Module:
    """Return the layers of pytorchcv's SQNet in the order of computation; pytorchcv declares the skips last."""
    up3, up2, up1 = oracle.hg.up_seq
    skip3, skip2, skip1 = oracle.hg.skip_seq
    return nn.ModuleList([oracle.stem, oracle.hg.down_seq, up1, skip1, up2, skip2, up3, skip3, oracle.head])


@pytest.mark.parametrize(
    ("name", "build", "in_order"),
    [
        ("segnet", segnet_cityscapes, declared),
        ("sqnet", sqnet_cityscapes, sqnet_as_met),
        ("cgnet", cgnet_cityscapes, declared),
    ],
)
@torch.no_grad()
def test_same_weights_same_logits(name, build, in_order, images):
    oracle = build(num_classes=CLASSES)
    randomise(oracle, images)
    network = create_model(name, CLASSES).eval()
    copy_in_order(in_order(oracle), network)
    expected = oracle(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_encoder_of_espnetv2(images):
    """pytorchcv has the image classifier; its first four levels are the encoder."""
    oracle = espnetv2_w2()
    del oracle.features.stage4
    oracle.features.final_block = oracle.features.final_pool = oracle.output = nn.Identity()
    for block in [module for module in oracle.modules() if isinstance(module, ESPBlock)]:
        # Declared in the order of computation, including the unused slopes of the published code.
        expand, slopes = block.merge_conv, nn.PReLU(block.merge_conv.bn.num_features)
        del block.merge_conv
        block.merge_conv = expand
        if not block.downsample:
            slopes = block.activ
            del block.activ
        block.activ = slopes
    randomise(oracle, images, BN_EPS)
    network = create_model("espnetv2", CLASSES).eval()
    copy_in_order(
        oracle,
        nn.ModuleList([network.level1, network.level2, network.down3, network.level3, network.down4, network.level4]),
    )
    found = []
    network.level4.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    network(images)
    expected = oracle(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found[0].flatten(1), expected, rtol=1e-5, atol=1e-5)
