"""Networks of the zoo against pytorchcv's, which others built: the same weights must give the same logits.

Compared before the last bilinear upsampling: pytorchcv aligns corner pixels there, lsabinet pixel centres. Batch
normalisation of pytorchcv's networks is given lsabinet's eps first, the one that the authors published.
"""

import pytest
import torch
from pytorchcv.models.dabnet import dabnet_cityscapes
from pytorchcv.models.edanet import edanet_cityscapes
from pytorchcv.models.erfnet import erfnet_cityscapes
from pytorchcv.models.lednet import lednet_cityscapes
from torch import Tensor, nn

from lsabinet_core.models import create_model
from lsabinet_core.models.blocks import BN_EPS

CLASSES = 11


def randomise(oracle: nn.Module) -> None:
    """Random numbers where constructors put zeros and ones, so that no bias, statistic or slope goes unnoticed."""
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = BN_EPS
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)


def mirror_right_branches(oracle: nn.Module) -> None:
    """Gives LEDNet's right branches the paper's order, 1x3 before 3x1; pytorchcv has 3x1 first on both sides."""
    for name, module in oracle.named_modules():
        if isinstance(module, nn.Conv2d) and ".right_branch." in name:
            module.kernel_size = module.kernel_size[::-1]
            module.padding = module.padding[::-1]
            module.dilation = module.dilation[::-1]
            module.weight = nn.Parameter(module.weight.detach().transpose(2, 3).contiguous())


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copies all parameters and statistics, paired by the order in which the two networks declare them."""
    pairs = list(zip(source.state_dict().values(), target.state_dict().values(), strict=True))
    for theirs, ours in pairs:
        assert theirs.shape == ours.shape
        ours.copy_(theirs)


def logits_before(upsampling: nn.Module, oracle: nn.Module, image: Tensor) -> Tensor:
    seen = []
    upsampling.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    oracle(image)
    return seen[0]


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("dabnet", dabnet_cityscapes),
        ("edanet", edanet_cityscapes),
        ("erfnet", erfnet_cityscapes),
        ("lednet", lednet_cityscapes),
    ],
)
@torch.no_grad()
def test_same_weights_give_the_same_logits(name, build):
    torch.manual_seed(7)
    image = torch.randn(1, 3, 128, 192)
    oracle = build(num_classes=CLASSES).eval()
    randomise(oracle)
    mirror_right_branches(oracle)
    model = create_model(name, CLASSES).eval()
    copy_in_order(oracle, model)

    # ERFNet ends in a transposed convolution and has nothing to upsample.
    expected = oracle(image) if name == "erfnet" else logits_before(oracle.up, oracle, image)
    logits = model.low_resolution_logits(image)

    assert expected.std((2, 3)).min() > 1e-3, "the networks are compared on flat logits"
    scale = expected.abs().max()
    torch.testing.assert_close(logits / scale, expected / scale, rtol=0, atol=1e-5)
