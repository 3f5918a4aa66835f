"""SegNet, SQNet and CGNet against pytorchcv's, which others built: the same weights must give the same logits."""

import pytest
import torch
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


def randomise(oracle: nn.Module, images: Tensor) -> None:
    """Random numbers where constructors put zeros and ones, and the statistics of these images."""
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)
    oracle.train()(images)
    oracle.eval()


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copies parameters and statistics, paired by the order in which the two networks declare them."""
    for theirs, ours in zip(source.state_dict().values(), target.state_dict().values(), strict=True):
        assert theirs.shape == ours.shape
        ours.copy_(theirs)


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
