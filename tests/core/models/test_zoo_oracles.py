"""SegNet, SQNet and CGNet against pytorchcv's, which others built: the same weights must give the same logits."""

import pytest
import torch
from oracles import copy_in_order, randomise
from pytorchcv.models.cgnet import cgnet_cityscapes
from pytorchcv.models.segnet import segnet_cityscapes
from pytorchcv.models.sqnet import sqnet_cityscapes
from torch import Tensor, nn

from lsabinet_core.models import create_model

CLASSES = 11


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 64, 96)


def declared(oracle: nn.Module) -> nn.Module:
    """The order in which the network declares its layers."""
    return oracle


def sqnet_as_met(oracle: nn.Module) -> nn.Module:
    """The layers of pytorchcv's SQNet in the order in which an image meets them; it declares the skips last."""
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
