"""Upload of images to the device (here the CPU)."""

import numpy as np
import pytest
import torch

from lsabinet_core.inference.backends.transfer import PinnedUpload


@pytest.mark.parametrize("made_in", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("used_in", [torch.inference_mode, torch.no_grad])
def test_buffer_may_be_filled_outside_inference_mode(made_in, used_in):
    """An engine may be built in the thread that segments frames, and compared in another thread."""
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    with made_in():
        out = torch.zeros(2, 3, 4, 3, dtype=torch.uint8)
    with used_in():
        assert PinnedUpload(torch.device("cpu"))(images, out=out) is out
    np.testing.assert_array_equal(out.numpy(), images)


def test_cpu_tensor_shares_memory():
    images = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    tensor = PinnedUpload(torch.device("cpu"))(images)
    images[0, 1, 1, 2] = 7
    assert tensor.shape == (1, 2, 2, 3)
    assert tensor[0, 1, 1, 2] == 7
