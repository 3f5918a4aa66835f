"""Networks against pytorchcv's independent implementations: the same weights must give the same logits.

The logits are compared before the last bilinear upsampling, where pytorchcv aligns corner pixels and lsabinet pixel
centres. The batch normalisation of pytorchcv's networks is set to lsabinet's eps first.
"""

import pytest
import torch
from oracles import copy_in_order, randomise
from pytorchcv.models.dabnet import dabnet_cityscapes
from pytorchcv.models.edanet import edanet_cityscapes
from pytorchcv.models.erfnet import erfnet_cityscapes
from pytorchcv.models.lednet import lednet_cityscapes
from torch import Tensor, nn

from lsabinet_core.models import create_model
from lsabinet_core.models.blocks import BN_EPS

CLASSES = 11


def mirror_right_branches(oracle: nn.Module) -> None:
    """Give LEDNet's right branches the paper's order, 1x3 before 3x1; pytorchcv has 3x1 first in both branches."""
    for name, module in oracle.named_modules():
        if isinstance(module, nn.Conv2d) and ".right_branch." in name:
            module.kernel_size = module.kernel_size[::-1]
            module.padding = module.padding[::-1]
            module.dilation = module.dilation[::-1]
            module.weight = nn.Parameter(module.weight.detach().transpose(2, 3).contiguous())


def drop_inner_relu(oracle: nn.Module) -> None:
    """Remove the ReLU that only pytorchcv's EDANet has between a module's dilated 3x1 and 1x3."""
    for name, module in oracle.named_modules():
        if name.endswith("conv2.conv2.lw_conv"):
            module.activate = False


def logits_before(upsampling: nn.Module, oracle: nn.Module, image: Tensor) -> Tensor:
    seen = []
    upsampling.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    oracle(image)
    return seen[0]


@pytest.mark.parametrize(
    ("name", "build", "correct"),
    [
        ("dabnet", dabnet_cityscapes, None),
        ("edanet", edanet_cityscapes, drop_inner_relu),
        ("erfnet", erfnet_cityscapes, None),
        ("lednet", lednet_cityscapes, mirror_right_branches),
    ],
)
@torch.no_grad()
def test_same_weights_give_the_same_logits(name, build, correct):
    torch.manual_seed(7)
    # pytorchcv's LEDNet requires sizes that are divisible by 2 six times.
    images = torch.randn(2, 3, 128, 192)
    oracle = build(num_classes=CLASSES)
    if correct is not None:
        correct(oracle)
    randomise(oracle, images, BN_EPS)
    model = create_model(name, CLASSES).eval()
    copy_in_order(oracle, model)

    # ERFNet ends in a transposed convolution and has nothing to upsample.
    expected = oracle(images) if name == "erfnet" else logits_before(oracle.up, oracle, images)
    logits = model.low_resolution_logits(images)

    spread = expected.std()
    assert spread > 0.05, "the networks are compared on flat logits"
    torch.testing.assert_close(logits / spread, expected / spread, rtol=1e-5, atol=1e-5)
